"""The way to a group's rows: its turn, in this process and among all that share the Milvus, on what is true now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import TypeVar

from app.errors import Closing, GroupNotFound
from app.store.connection import Connection
from app.store.group import Group
from app.store.records import Family

T = TypeVar("T")

# Milvus may need seconds to make a group, and a service manager kills what has not ended after half a minute.
_CLOSE_TIMEOUT_S = 20.0

_log = logging.getLogger("likeness.store")


class Access:
    """Lets readers and writers at groups, and waits for the writers at the end.

    Args:
        connection: the way to Milvus.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._writes: set[asyncio.Task[object]] = set()
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether nothing is let in any more."""
        return self._closed

    async def close(self, timeout: float = _CLOSE_TIMEOUT_S) -> None:
        """Lets nothing in any more, and waits for the writes that have begun; not for ever, where Milvus is silent."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout):
                while self._writes:
                    await asyncio.wait(self._writes)
        if self._writes:
            _log.error("%d writes are given up, to which Milvus has not answered", len(self._writes))
            for task in self._writes:
                task.cancel()
            await asyncio.wait(self._writes)

    async def group(self, family: Family, name: str) -> Group:
        """The group, as the registry knows it now.

        Raises:
            GroupNotFound: no such group.
        """
        if self._closed:
            raise Closing
        group = (await self._connection.groups()).get((family, name))
        if group is None:
            raise GroupNotFound(f"There is no group {name!r}.")
        return group

    @asynccontextmanager
    async def reading(self, family: Family, name: str) -> AsyncIterator[Group]:
        """Holds the group as one of its readers."""
        while True:
            group = await self.group(family, name)
            async with self._turn(group):
                if await self._is_there(group):
                    yield group
                    return

    @asynccontextmanager
    async def reading_on(self, group: Group) -> AsyncIterator[None]:
        """Holds a group again that was read before.

        Raises:
            GroupNotFound: it was removed meanwhile, also if there is another of its name.
        """
        async with self._turn(group):
            if not await self._is_there(group):
                raise GroupNotFound(f"There is no group {group.registration.name!r}.")
            yield

    async def write(self, family: Family, name: str, work: Callable[[Group], Awaitable[T]]) -> T:
        """Does work on the group while nobody else reads or writes it.

        Work that has begun ends, also when the caller is cancelled; a caller who still waits just leaves.
        """
        begun = False

        async def locked() -> T:
            nonlocal begun
            while True:
                group = await self.group(family, name)
                async with group.lock.writing(), self._connection.turns.writing(group.registration.collection) as turn:
                    group.saw(turn.before)
                    if not await self._is_there(group):
                        continue
                    group.left(turn.after)
                    begun = True
                    return await work(group)

        task = self._started(locked())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not begun:
                task.cancel()
            raise

    async def finish(self, action: Coroutine[None, None, T]) -> T:
        """Runs an action to its end, also when the caller is cancelled."""
        return await asyncio.shield(self._started(action))

    @asynccontextmanager
    async def _turn(self, group: Group) -> AsyncIterator[None]:
        async with group.lock.reading(), self._connection.turns.reading(group.registration.collection) as generation:
            group.saw(generation)
            yield

    async def _is_there(self, group: Group) -> bool:
        """Whether the group is still the one of its name; only its holder can rely on the answer."""
        if self._closed:
            raise Closing
        await self._connection.groups()
        return not group.removed

    def _started(self, action: Coroutine[None, None, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(action)
        self._writes.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[T]) -> None:
        self._writes.discard(task)
        if not task.cancelled():
            task.exception()  # marks it as seen: the caller may be gone
