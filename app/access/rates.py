"""How often and how much at once each caller may ask."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.access.caller import Caller
from app.config import Settings
from app.errors import RateLimited

# Callers that are remembered: the one that asked longest ago goes first.
_MOST_CALLERS = 10_000


@dataclass(slots=True)
class TokenBucket:
    """Tokens that come back at a steady rate.

    Attributes:
        tokens: those that are there.
        at: when that was, in seconds of the clock.
    """

    tokens: float
    at: float

    def take(self, now: float, *, rate: float, most: float) -> float:
        """Takes a token; returns 0, or the seconds until there is one."""
        self.tokens = min(most, self.tokens + (now - self.at) * rate)
        self.at = now
        if self.tokens < 1:
            return (1 - self.tokens) / rate
        self.tokens -= 1
        return 0.0


class Buckets:
    """A bucket for each caller.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def take(self, who: str, *, rate: float, burst: int) -> float:
        """Takes a token of a caller; returns 0, or the seconds until there is one."""
        now = self._clock()
        bucket = self._buckets.get(who)
        if bucket is None:
            bucket = self._buckets[who] = TokenBucket(burst, now)
            if len(self._buckets) > _MOST_CALLERS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(who)
        return bucket.take(now, rate=rate, most=burst)


class CallerLimits:
    """Limits of one process on each key, or on each address where there are no keys.

    Args:
        settings: what they are where a key has none of its own.
        clock: seconds.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._buckets = Buckets(clock)
        self._at_work: dict[str, int] = {}

    @contextmanager
    def turn(self, caller: Caller) -> Iterator[None]:
        """Counts a request as at work inside the block.

        Raises:
            RateLimited: the caller asks too often, or has too many requests at work.
        """
        key, settings = caller.key, self._settings
        if key is None:
            who, rate, parallel = f"address {caller.address}", settings.address_rate, settings.address_requests
        else:
            who = f"key {key.id}"
            rate = settings.key_rate if key.rate is None else key.rate
            parallel = settings.key_requests if key.parallel is None else key.parallel
        if rate:
            wait = self._buckets.take(who, rate=rate, burst=max(settings.rate_burst, math.ceil(rate)))
            if wait:
                raise RateLimited(f"At most {rate:g} requests a second are yours: slow down.", wait_s=wait)
        at_work = self._at_work.get(who, 0)
        if parallel and at_work >= parallel:
            raise RateLimited(f"{at_work} requests of yours are at work already: send the next when one has ended.")
        self._at_work[who] = at_work + 1
        try:
            yield
        finally:
            self._at_work[who] -= 1
            if not self._at_work[who]:
                del self._at_work[who]
