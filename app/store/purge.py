"""Sees to it that deleted rows are in no segment file of a server any more that serves a group.

A server marks rows as deleted and rewrites the files later, when it finds that worth it. Here it is asked to, until its
files hold as many rows as the group has. It deletes the old files by itself some time after that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass

from app.store.access import Access
from app.store.compaction import Compaction
from app.store.connection import Connection
from app.store.group import Group
from app.store.records import Family

_PAUSE_S = 1.0
_FLUSH_PAUSE_S = 11.0  # servers refuse to flush one collection more often than every ten seconds


@dataclass(frozen=True, slots=True)
class Purged:
    """What a purge found and left.

    Attributes:
        rows: rows that the group has.
        before: rows in the segment files, when all was written to them.
        after: the same at the end.
    """

    rows: int
    before: int
    after: int

    @property
    def is_done(self) -> bool:
        """Whether no file that serves the group holds a deleted row."""
        return self.after == self.rows


class Purge:
    """Purges groups, one at a time; writers are kept out only while files are written and rows are counted.

    Args:
        connection: the way to Milvus.
        access: lets in readers and writers.
        compaction: of the same Milvus.
        patience_s: seconds after which a group is given up.
    """

    def __init__(
        self, connection: Connection, access: Access, compaction: Compaction, *, patience_s: float = 600.0
    ) -> None:
        self._connection = connection
        self._access = access
        self._compaction = compaction
        self._patience_s = patience_s

    async def group(self, family: Family, name: str, *, wait: Callable[[], None] = lambda: None) -> Purged:
        """Purges a group.

        Args:
            family: images or faces.
            name: its name.
            wait: called each time when the server has to be waited for.

        Raises:
            GroupNotFound: no such group.
            BackendUnavailable: the server does not answer.
        """
        deadline = time.monotonic() + self._patience_s
        before: int | None = None
        written: int | None = None
        flushed_at = 0.0
        while True:
            async with self._access.reading(family, name) as group:
                if written is None or written != group.generation:
                    if written is not None:
                        await asyncio.sleep(max(0.0, flushed_at + _FLUSH_PAUSE_S - time.monotonic()))
                    await self._flush(group)
                    written, flushed_at = group.generation, time.monotonic()
                stored, rows = await self._numbers(group)
            before = stored if before is None else before
            if stored == rows or time.monotonic() > deadline:
                return Purged(rows, before, stored)
            wait()
            await self._compaction.run(group.registration.collection, patience_s=self._patience_s)
            await asyncio.sleep(_PAUSE_S)

    async def _flush(self, group: Group) -> None:
        await (await self._connection.engine()).flush(group.registration.collection)

    async def _numbers(self, group: Group) -> tuple[int, int]:
        engine, collection = await self._connection.engine(), group.registration.collection
        return await self._compaction.stored(collection), await engine.count(collection, "", strong=True)
