"""Permits for inference: requests come first, work in the background takes what they leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.errors import Limit, Overloaded
from app.metrics import WorkMetrics


class Admission:
    """Permits for inference: without a free one a request is refused at once.

    Args:
        permits: requests that may be at work at the same time.
        behind: images that may be at work behind them, in the background, at the same time.
        linger_s: seconds for which a request that has ended still counts for the background: to a client that asks
            one thing after the other the pauses in between do not look like peace.
        limit: what is full where no permit is free.
    """

    def __init__(self, permits: int, *, behind: int = 1, linger_s: float = 0.5, limit: Limit = Limit.REQUESTS) -> None:
        self._linger_s = linger_s
        self._limit = limit
        self._permits = permits
        self._free = permits
        self._at_work = 0
        self._most_behind = behind
        self._behind = 0
        self._waiters: list[asyncio.Future[None]] = []

    def check(self) -> None:
        """Takes nothing.

        Raises:
            Overloaded: no permit is free.
        """
        if self._free <= 0:
            message = "The service has as many requests at work as it takes: try again in a moment."
            raise Overloaded(message, limit=self._limit)

    @asynccontextmanager
    async def permit(self) -> AsyncIterator[None]:
        """Holds one permit inside the block.

        Raises:
            Overloaded: none is free.
        """
        self.check()
        self._free -= 1
        self._at_work += 1
        try:
            yield
        finally:
            self._free += 1
            asyncio.get_running_loop().call_later(self._linger_s, self._left)

    @asynccontextmanager
    async def behind(self) -> AsyncIterator[None]:
        """Waits for one of the places in the background and holds it inside the block.

        Every request at work takes a place away, down to one: background work slows down for requests, never stops
        for them, and takes no permit from them.
        """
        while self._behind >= max(1, self._most_behind - self._at_work):
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            await waiter
        self._behind += 1
        try:
            yield
        finally:
            self._behind -= 1
            self._wake()

    def sample(self, metrics: WorkMetrics) -> None:
        """Tells how many are at work at this moment."""
        metrics.permits.set(self._permits)
        metrics.permits_used.set(self._permits - self._free)
        metrics.background.set(self._behind)

    def _left(self) -> None:
        self._at_work -= 1
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
