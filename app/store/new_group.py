"""A group that is filled before anybody sees it: it appears whole, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self

from app.errors import Closing
from app.store.connection import Connection
from app.store.records import Record
from app.store.registry import Registration
from app.store.rows import Rows, create_collection


class NewGroup:
    """A group whose name is reserved and which is in no listing yet; use it with ``async with``.

    When the block ends, the group is registered, which makes it exist; when the block fails, its rows are dropped. A
    process that is killed in between leaves a collection without a group, which a start cleans up.

    Args:
        connection: the way to Milvus; the name is reserved in it.
        registration: of the group.
        finish: runs to its end what has begun, also when the caller is cancelled.
        is_closed: whether the store takes no more writes.
    """

    def __init__(
        self,
        connection: Connection,
        registration: Registration,
        *,
        finish: Callable[[Coroutine[None, None, None]], Coroutine[Any, Any, None]],
        is_closed: Callable[[], bool],
    ) -> None:
        self._connection = connection
        self._registration = registration
        self._finish = finish
        self._is_closed = is_closed
        self._rows: Rows | None = None
        self._added = 0
        self._made = asyncio.Event()

    async def __aenter__(self) -> Self:
        try:
            await self._finish(self._create())
        except BaseException:
            await self._finish(self._abandon())
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._finish(self._register() if error is None else self._abandon())

    async def add(self, records: Sequence[Record]) -> None:
        """Adds rows, all or none: at most one of ``batches``.

        Raises:
            IdExists: an id is there already, or twice among them; ``index`` says whose.
        """
        if self._is_closed():
            raise Closing
        assert self._rows is not None, "it is used inside its block"
        await self._rows.require_new([record.row.id for record in records])
        await self._rows.insert(records)
        self._added += len(records)

    async def _create(self) -> None:
        try:
            engine = await self._connection.engine()
            await create_collection(engine, self._registration)
            self._rows = Rows(engine, self._registration)
        finally:
            self._made.set()

    async def _register(self) -> None:
        try:
            if self._is_closed():
                raise Closing
            await self._connection.register(self._registration, rows=self._added)
        finally:
            self._free()

    async def _abandon(self) -> None:
        await self._made.wait()  # of a caller who was cancelled meanwhile
        try:
            await self._connection.discard(self._registration.collection)
        finally:
            self._free()

    def _free(self) -> None:
        self._connection.free(self._registration.family, self._registration.name)
