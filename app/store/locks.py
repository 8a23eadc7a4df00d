"""A fair readers-writer lock for one event loop: first come, first served, so neither side can starve."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class ReadersWriterLock:
    """Any number of readers, or one writer.

    A reader that comes after a waiting writer waits behind it. A cancelled waiter leaves the queue without a trace.
    The lock is handed over on release, not fought for, so the order of arrival is the order of service.
    """

    def __init__(self) -> None:
        self._readers = 0
        self._writing = False
        self._queue: deque[tuple[bool, asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[None]:
        """Holds the lock as one of the readers."""
        await self._acquire(write=False)
        try:
            yield
        finally:
            self._readers -= 1
            self._hand_over()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[None]:
        """Holds the lock alone."""
        await self._acquire(write=True)
        try:
            yield
        finally:
            self._writing = False
            self._hand_over()

    async def _acquire(self, *, write: bool) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((write, turn))
        self._hand_over()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # our turn came in the same tick as the cancellation
                if write:
                    self._writing = False
                else:
                    self._readers -= 1
            self._hand_over()
            raise

    def _hand_over(self) -> None:
        while self._queue and not self._writing:
            write, turn = self._queue[0]
            if turn.cancelled():
                self._queue.popleft()
                continue
            if write and self._readers:
                return
            self._queue.popleft()
            if write:
                self._writing = True
            else:
                self._readers += 1
            turn.set_result(None)
