"""One group at run time: what the registry says of it, its rows, its lock and its counters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from app.store import keys
from app.store.counts import TagCounts
from app.store.engine import Engine
from app.store.expiry import Clock, Ended
from app.store.locks import ReadersWriterLock
from app.store.registry import Registration
from app.store.rows import Rows
from app.store.sealing import Sealing


class Group:
    """Everything but ``registration`` may be used only while ``lock`` is held.

    Attributes:
        registration: what the registry knows of it.
        rows: its rows in Milvus.
        lock: readers of rows and counters against writers.
        removed: whether it is no longer in the registry; those who waited for the lock must look.
        known_rows: how many rows it had when that was last known; None until they are first counted.
    """

    def __init__(self, engine: Engine, registration: Registration, *, clock: Clock = time.time) -> None:
        self.registration = registration
        self.rows = Rows(engine, registration, clock=clock)
        self.lock = ReadersWriterLock()
        self.removed = False
        self.known_rows: int | None = None
        self._sealing = Sealing(engine, registration.collection)
        self._counts: TagCounts | None = None
        self._as_of = 0  # the second that they are of: they count what is stored with a later end
        self._scan = asyncio.Lock()
        self._engine = engine
        self._generation = 0

    async def counts(self) -> TagCounts:
        """Rows per tag, counted by a scan on first use, less those whose time was over since."""
        async with self._scan:
            counts, now = self._counts, self.rows.expiry.now()
            if counts is None or self._is_before_counts(now):
                counts = TagCounts()
                async for tag in self.rows.scan_tags(until=now):
                    counts.add(tag)
                self._counts, self._as_of = counts, now
            elif self.registration.ttl_seconds is not None and now > self._as_of:
                over = [tag async for tag in self.rows.scan_tags(since=self._as_of, until=now)]
                for tag in over:
                    counts.remove(tag)
                self._as_of = now
            self.known_rows = counts.rows
            return counts

    @contextmanager
    def counting(self, *, added: Collection[str] = (), removed: Collection[str] = ()) -> Iterator[None]:
        """Books a write: the tags of the rows that come and go, once it is done.

        A write that failed may have happened all the same or in part, so after it the rows are counted anew.
        """
        counts, self._counts = self._counts, None
        if self._is_before_counts(self.rows.expiry.now()):
            counts = None
        yield
        self.wrote(len(added))
        if counts is not None:
            for tag in removed:
                counts.remove(tag)
            for tag in added:
                counts.add(tag)
            self._counts = counts
            self.known_rows = counts.rows

    async def clear(self, ended: Sequence[Ended]) -> None:
        """Deletes rows whose time is over: also before others come in their place, so that no id is there twice."""
        if ended:
            with self.counting(removed=[keys.restored(each.tag) for each in ended if each.expires > self._as_of]):
                await self.rows.clear(ended)

    def wrote(self, rows: int) -> None:
        """Takes note of rows that were added."""
        self._sealing.wrote(rows)

    def saw(self, generation: int) -> None:
        """Takes note of the generation that a turn began with; after another process wrote, all is looked at anew."""
        if generation != self._generation:
            if self._generation:
                self.wrote(1)  # at least: rows of others are to be sealed as well
            self._generation = generation
            self._engine.unfollow(self.registration.collection)
            self.forget_counts()

    @property
    def generation(self) -> int:
        """Changes with every write that took a turn, of any process; always 0 where nobody shares the Milvus."""
        return self._generation

    def left(self, generation: int) -> None:
        """Takes note of the generation that a write of this process began, after ``saw``."""
        self._generation = generation

    def searched(self) -> None:
        """Takes note of a search."""
        self._sealing.searched()

    def _is_before_counts(self, now: int) -> bool:
        """Whether the clock was set back, so that rows are seen again which the counts have left out."""
        return self.registration.ttl_seconds is not None and now < self._as_of

    async def close(self) -> None:
        """Ends what goes on in the background."""
        await self._sealing.close()

    def forget_counts(self) -> None:
        """Counts the rows anew on next use."""
        self._counts = None
