"""Turns at a group: what keeps the reads and writes of several service processes apart.

Milvus itself has nothing to build a lock from (no compare-and-swap, no unique ids), so it comes from outside: for the
processes of one machine from the kernel (``lock_folder``), for those of several from a Redis server (``redis_turns``).
Each thing that is locked also has a generation, a number that every write changes: a process that finds another one
than it left knows that somebody else has written, counts anew and reads strongly.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import NamedTuple, Protocol

Release = Callable[[], Awaitable[None]]


class Raised(NamedTuple):
    """The generations that a writer found and left."""

    before: int
    after: int


class Turns(Protocol):
    """Many readers or one writer of each name, over all processes; within one, the caller keeps order itself."""

    def reading(self, name: str) -> AbstractAsyncContextManager[int]:
        """Holds the name as one of its readers; yields its generation.

        Raises:
            BackendUnavailable: what keeps the locks does not answer.
        """
        ...

    def writing(self, name: str) -> AbstractAsyncContextManager[Raised]:
        """Holds the name alone, with a new generation from the beginning: whatever becomes of the write, others look.

        The block is cancelled and BackendUnavailable raised where the lock is lost while it runs.

        Raises:
            BackendUnavailable: what keeps the locks does not answer.
        """
        ...

    async def claim(self, name: str) -> Release | None:
        """Takes the name if nobody has it, and returns what gives it back. Claims are apart from turns.

        Raises:
            BackendUnavailable: what keeps the locks does not answer.
        """
        ...

    async def generation(self, name: str) -> int:
        """The generation at this moment, without a turn."""
        ...

    async def drop(self, name: str) -> None:
        """Forgets a name that nobody will use again."""
        ...

    async def close(self) -> None:
        """Lets everything go."""
        ...


class Alone:
    """Of a process that shares its Milvus with no other: everybody's turn is now."""

    @asynccontextmanager
    async def reading(self, name: str) -> AsyncIterator[int]:
        """See ``Turns``."""
        del name
        yield 0

    @asynccontextmanager
    async def writing(self, name: str) -> AsyncIterator[Raised]:
        """See ``Turns``."""
        del name
        yield Raised(0, 0)

    async def claim(self, name: str) -> Release | None:
        """See ``Turns``."""
        del name
        return _nothing

    async def generation(self, name: str) -> int:
        """See ``Turns``."""
        del name
        return 0

    async def drop(self, name: str) -> None:
        """See ``Turns``."""

    async def close(self) -> None:
        """See ``Turns``."""


async def _nothing() -> None:
    pass
