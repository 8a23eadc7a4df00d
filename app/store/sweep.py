"""Deletes the rows whose time is over, a few at a time, in the background.

No read shows such a row, so nothing depends on when a sweep comes. Several processes may sweep the same groups: each
portion is looked for and deleted in one write turn, so that what one has deleted another does not find.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from app.errors import Closing, GroupNotFound, LikenessError
from app.store.access import Access
from app.store.connection import Connection
from app.store.group import Group
from app.store.records import Family

_PORTION = 200  # rows of one write turn: others wait for it
_MOST = 20_000  # rows of one group in one sweep: then it is the turn of the next group
_PAUSE_S = 0.05  # between two portions, in which other writers are let in
_SPREAD = 0.3  # share of the time between sweeps by which processes differ, so that not all look at once

Told = Callable[[Family, str, int], None]
"""Hears how many rows of a group a sweep deleted."""

_log = logging.getLogger("likeness.store")


class Sweep:
    """Sweeps all groups whose rows end.

    Args:
        connection: knows the groups.
        access: lets in readers and writers.
        every_s: seconds from one sweep to the next; the first comes as long after the start.
        told: hears of what was deleted.
    """

    def __init__(self, connection: Connection, access: Access, *, every_s: float, told: Told) -> None:
        self._connection = connection
        self._access = access
        self._every_s = every_s
        self._told = told
        self._task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Sweeps from now on."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Ends; a portion that is being deleted is deleted."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def once(self) -> int:
        """Sweeps all groups, each for so long at most, and returns the number of rows that were deleted.

        Raises:
            BackendUnavailable: Milvus does not answer.
        """
        total = 0
        for (family, name), group in list((await self._connection.groups()).items()):
            if group.registration.ttl_seconds is not None:
                total += await self._group(family, name)
        return total

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._every_s * random.uniform(1 - _SPREAD, 1))  # noqa: S311
            try:
                await self.once()
            except Closing:
                return
            except LikenessError:
                _log.debug("Rows whose time is over could not be swept: the next sweep tries again")
            except Exception as error:
                _log.error("A sweep of rows whose time is over failed", exc_info=error)

    async def _group(self, family: Family, name: str) -> int:
        deleted = 0
        try:
            while deleted < _MOST:
                # Looked for as a reader first: a write turn makes other processes count anew.
                async with self._access.reading(family, name) as group:
                    if not await group.rows.ended(limit=1):
                        break
                deleted += await self._access.write(family, name, _portion)
                await asyncio.sleep(_PAUSE_S)
        except GroupNotFound:
            pass  # it was removed meanwhile
        finally:
            if deleted:
                _log.info("Deleted %d rows of the %s group %s, whose time was over", deleted, family, name)
                self._told(family, name, deleted)
        return deleted


async def _portion(group: Group) -> int:
    ended = await group.rows.ended(limit=_PORTION)
    await group.clear(ended)
    return len(ended)
