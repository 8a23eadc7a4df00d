"""A group that is filled before anybody sees it: it appears whole, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from app.errors import Closing, GroupExists
from app.store.access import Access
from app.store.connection import Connection
from app.store.records import Record
from app.store.registry import Registration
from app.store.rows import Rows, create_collection
from app.store.turns import Release


class NewGroup:
    """A group whose name is reserved and which is in no listing yet; use it with ``async with``.

    When the block ends, the group is registered, which makes it exist; when the block fails, its rows are dropped. A
    process that is killed in between leaves a collection without a group, which a start cleans up.

    Args:
        connection: the way to Milvus.
        registration: of the group.
        release: gives the name back, at the end.
        access: runs to its end what has begun, and knows whether the store takes no more writes.

    Attributes:
        added: number of rows that are in it.
    """

    def __init__(self, connection: Connection, registration: Registration, *, release: Release, access: Access) -> None:
        self._connection = connection
        self._registration = registration
        self._release = release
        self._access = access
        self._rows: Rows | None = None
        self.added = 0
        self._made = asyncio.Event()

    async def __aenter__(self) -> Self:
        try:
            await self._access.finish(self._create())
        except BaseException:
            await self._access.finish(self._abandon())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._access.finish(self._register() if error is None else self._abandon())

    async def add(self, records: Sequence[Record]) -> None:
        """Adds rows, all or none, but for those whose time is over: at most one of ``batches``.

        Raises:
            IdExists: an id is there already, or twice among them; ``index`` says whose.
        """
        if self._access.closed:
            raise Closing
        assert self._rows is not None, "it is used inside its block"
        await self._rows.require_new([record.row.id for record in records])
        current = [record for record in records if not self._rows.expiry.is_over(record.expires)]
        if current:
            await self._rows.insert(current)
        self.added += len(current)

    async def _create(self) -> None:
        try:
            engine = await self._connection.engine()
            partitions = await self._connection.partition_keys.number(engine, self._registration.capacity)
            await create_collection(engine, self._registration, partitions=partitions)
            self._rows = Rows(engine, self._registration, clock=self._connection.clock)
        finally:
            self._made.set()

    async def _register(self) -> None:
        try:
            if self._access.closed:
                raise Closing
            await self._connection.register(self._registration, rows=self.added)
        except GroupExists:
            await self._connection.discard(self._registration.collection)
            raise
        finally:
            await self._release()

    async def _abandon(self) -> None:
        await self._made.wait()  # of a caller who was cancelled meanwhile
        try:
            await self._connection.discard(self._registration.collection)
        finally:
            await self._release()
