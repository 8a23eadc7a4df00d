"""When the rows of a group end, and what keeps those out of every read whose time is over.

Times are whole seconds of Unix time. A row ends with the second in which its time is over, so that all reads of one
second ask the engine the same, and concurrent searches still go to it as one call.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from app.store import filters

EXPIRES = "expires"  # the field that rows have where their group has a time to live

Clock = Callable[[], float]
"""Tells the time of day, in seconds of Unix time."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A row that is still stored though its time is over; id and tag as ``keys.stored`` writes them."""

    id: str
    tag: str
    expires: int


@dataclass(frozen=True, slots=True)
class Found:
    """What is stored under some ids.

    Attributes:
        tags: the tag of each row that is there.
        over: rows that no read shows any more, as their time is over.
    """

    tags: dict[str, str]
    over: list[Ended]


@dataclass(frozen=True, slots=True)
class Expiry:
    """The time to live of one group's rows.

    Attributes:
        ttl_seconds: of each row, from when it was added or last updated; None where they stay.
        clock: tells the time.
    """

    ttl_seconds: int | None
    clock: Clock

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields of a row that say when it ends."""
        return () if self.ttl_seconds is None else (EXPIRES,)

    def now(self) -> int:
        """The second that it is."""
        return math.floor(self.clock())

    def end(self, wanted: int | None) -> int | None:
        """When a row ends that is written now: at its own time where it has one, but never later than a new one.

        Args:
            wanted: the time of a row that comes out of a file; None of a new one.
        """
        if self.ttl_seconds is None:
            return None
        latest = math.ceil(self.clock() + self.ttl_seconds)
        return latest if wanted is None else min(wanted, latest)

    def is_over(self, expires: int | None) -> bool:
        """Whether a row of that time is to be seen no more."""
        return self.ttl_seconds is not None and expires is not None and expires <= self.now()

    def alive(self, now: int | None = None) -> str:
        """The rows whose time is not over, as a filter; all rows where they stay."""
        return "" if self.ttl_seconds is None else filters.more_than(EXPIRES, self.now() if now is None else now)
