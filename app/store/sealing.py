"""Asks a server now and then to seal the rows of a collection that came last, so that searches stay exact enough.

A server searches rows that it has not sealed yet by a makeshift index, which finds 0.91 of the ten nearest of 20,000
rows whatever the search's width; sealed and indexed, 0.999 are found. Up to about 5,000 unsealed rows it looks at each.
(Measured on 2.3.5 with ``loadtest.group_sizes``; Milvus calls it the growing segments' interim index.)
"""

from __future__ import annotations

import asyncio
import logging

from app.errors import LikenessError
from app.store.engine import Engine

# Servers refuse to flush one collection more often than every ten seconds.
_PAUSE_S = 11.0

_log = logging.getLogger("likeness.store")


class Sealing:
    """Seals one collection in the background.

    Args:
        engine: the connection.
        collection: whose rows.
        pause_s: seconds between two requests at least.
    """

    def __init__(self, engine: Engine, collection: str, *, pause_s: float = _PAUSE_S) -> None:
        self._engine = engine
        self._collection = collection
        self._pause_s = pause_s
        self._fresh = 0
        self._looked = False
        self._task: asyncio.Task[None] | None = None

    def wrote(self, rows: int) -> None:
        """Counts rows that were added; returns at once."""
        most = self._engine.profile.unsealed_rows
        self._fresh += rows
        if most is not None and self._fresh >= most and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._seal(most))

    def searched(self) -> None:
        """Looks once, in the background, whether a process before this one may have left rows unsealed."""
        if self._looked:
            return
        self._looked = True
        if self._engine.profile.unsealed_rows is not None and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._seal_what_was_left(self._engine.profile.unsealed_rows))

    async def close(self) -> None:
        """Ends what is under way; the server seals what it was asked to all the same."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _seal_what_was_left(self, most: int) -> None:
        try:
            rows = await self._engine.count(self._collection, "")
        except LikenessError:
            self._looked = False
            return
        # A smaller group is looked through row by row anyway.
        self._fresh = max(self._fresh, most) if rows >= most else self._fresh
        await self._seal(most)

    async def _seal(self, most: int) -> None:
        while self._fresh >= most:
            self._fresh, asked = 0, self._fresh
            try:
                await self._engine.flush(self._collection)
            except LikenessError:
                # Nothing is lost: the rows are found a little less surely for a while longer.
                _log.debug("Could not seal %s", self._collection)
                self._fresh += asked
            await asyncio.sleep(self._pause_s)
