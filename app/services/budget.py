"""A budget of bytes that concurrent work may hold together."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.errors import Limit, Overloaded
from app.metrics import WorkMetrics


class MemoryBudget:
    """Grants bytes first come, first served.

    One grant may never exceed the whole budget: larger wishes are cut to it, so that a lone large image still gets
    its turn, alone.

    Args:
        total: bytes that all holders together may have.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._waiters: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def total(self) -> int:
        """Bytes that all holders together may have."""
        return self._total

    @property
    def free(self) -> int:
        """Bytes that nobody holds."""
        return self._free

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """Waits for ``size`` bytes and holds them inside the block."""
        size = min(size, self._total)
        if self._waiters or size > self._free:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            place = (size, waiter)
            self._waiters.append(place)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self.give_back(size)  # granted in the very turn in which the caller left
                else:
                    with contextlib.suppress(ValueError):  # passed over already by one who gave bytes back
                        self._waiters.remove(place)
                    self._grant()
                raise
        else:
            self._free -= size
        try:
            yield
        finally:
            self.give_back(size)

    def take(self, size: int) -> None:
        """Takes bytes at once; ``give_back`` returns them.

        Raises:
            Overloaded: they are not free.
        """
        if size > self._free:
            message = "Too many large requests are being received: try again in a moment."
            raise Overloaded(message, limit=Limit.BODIES)
        self._free -= size

    def borrow(self, size: int) -> int:
        """Takes bytes at once where they are free and nobody waits for any; ``give_back`` returns them.

        Returns:
            How many were taken: all of them or none.
        """
        if self._waiters or size > self._free:
            return 0
        self._free -= size
        return size

    def give_back(self, size: int) -> None:
        """Returns bytes that ``take`` took."""
        self._free += size
        self._grant()

    def sample(self, metrics: WorkMetrics, name: str) -> None:
        """Tells how it stands at this moment."""
        metrics.budget(name, total=self._total, free=self._free)

    def _grant(self) -> None:
        while self._waiters and self._waiters[0][0] <= self._free:
            size, waiter = self._waiters.popleft()
            if not waiter.cancelled():
                self._free -= size
                waiter.set_result(None)
