"""Groups and what is in them: the store's whole interface to the rest of the service."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from app.errors import Closing, GroupExists, IdExists, ImageNotFound
from app.metrics import StoreMetrics
from app.stages import Stage, stage
from app.store.access import Access
from app.store.compaction import Compaction
from app.store.connection import Connection
from app.store.expiry import Clock
from app.store.group import Group
from app.store.names import fresh_collection_name
from app.store.new_group import NewGroup
from app.store.partition_keys import EngineFacts
from app.store.purge import Purge
from app.store.records import Embeddings, EmbeddingSpace, Family, GroupInfo, Held, Hit, Page, Record, Row, TagCount
from app.store.registry import Registration
from app.store.sharing import require_place
from app.store.sweep import Sweep, Told

_RECORDS_AT_ONCE = 256  # 20 MB where descriptions are at their longest


class GroupStore:
    """Groups of rows in Milvus; several processes may use the same ones where they share ``locks``.

    It opens at once and connects on first use, so the service starts while Milvus is down; until Milvus answers,
    every call raises BackendUnavailable. A write that has begun ends, also when its caller is cancelled.

    Args:
        uri: where Milvus is, e.g. ``http://host:19530`` or ``unix:/path``.
        token: token or ``user:password``, may be empty.
        database: Milvus database, empty for the default one.
        prefix: first part of this service's collection names.
        embedded: whether no other process uses this Milvus, so that collections without a group can be dropped.
        timeout_s: seconds that one call to Milvus may take.
        pending: folder for updates under way, for Milvus Lite: killed in the middle of one, it loses the row.
        locks: what keeps apart the processes that use this Milvus: a folder that those of one machine share, or the
            URL of a Redis for those of several; empty for a folder that is found by itself, ``None`` for a Milvus that
            no other process uses.
        metrics: told of calls to Milvus, and of groups.
        clock: tells the time, for groups whose rows end.
        sweep_s: seconds between two sweeps that delete rows whose time is over.
        swept: hears of what a sweep deleted.
    """

    def __init__(
        self,
        *,
        uri: str,
        token: str = "",
        database: str = "",
        prefix: str,
        embedded: bool,
        timeout_s: float,
        pending: Path | None = None,
        locks: str | None = None,
        metrics: StoreMetrics | None = None,
        clock: Clock = time.time,
        sweep_s: float = 30.0,
        swept: Told = lambda *_: None,
    ) -> None:
        self._prefix = prefix
        self._locks = locks
        self._connection = Connection(
            uri=uri,
            token=token,
            database=database,
            prefix=prefix,
            embedded=embedded,
            timeout_s=timeout_s,
            pending=pending,
            locks=locks,
            metrics=metrics or StoreMetrics.unseen(),
            clock=clock,
        )
        self._access = Access(self._connection)
        self._sweep = Sweep(self._connection, self._access, every_s=sweep_s, told=swept)

    async def __aenter__(self) -> Self:
        if self._locks is not None:
            require_place(self._locks)
        self._sweep.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._sweep.close()
        await self._access.close()
        await self._connection.close()

    async def sweep(self) -> int:
        """Deletes rows whose time is over, as happens now and then by itself, and returns their number."""
        return await self._sweep.once()

    def purge(self, compaction: Compaction) -> Purge:
        """What takes deleted rows out of a server's files."""
        return Purge(self._connection, self._access, compaction)

    async def ping(self) -> None:
        """Asks whether Milvus answers.

        Raises:
            BackendUnavailable: not within two seconds.
        """
        await self._connection.ping()

    def facts(self) -> EngineFacts | None:
        """Which engine Milvus is, and whether new groups get partition keys; None until it has answered."""
        return self._connection.facts()

    def sample(self) -> None:
        """Tells of the groups and rows that are known without asking Milvus."""
        self._connection.sample()

    def forget(self) -> None:
        """Drops what may be wrong after the engine was restarted: loaded collections and counters."""
        self._connection.forget()

    # --- groups ---

    async def create(
        self, family: Family, name: str, *, capacity: int, space: EmbeddingSpace, ttl_seconds: int | None = None
    ) -> None:
        """Creates an empty group; see ``filling``.

        Raises:
            GroupExists: there is one of that name.
        """
        async with self.filling(family, name, capacity=capacity, space=space, ttl_seconds=ttl_seconds):
            pass

    @asynccontextmanager
    async def filling(
        self, family: Family, name: str, *, capacity: int, space: EmbeddingSpace, ttl_seconds: int | None = None
    ) -> AsyncIterator[NewGroup]:
        """Yields a group to fill, which exists for others only once the block has ended without an error.

        Rows are kept for ``ttl_seconds`` after they were added or last updated, or for good.

        Raises:
            GroupExists: there is one of that name, or one is being made.
        """
        if self._access.closed:
            raise Closing
        collection = fresh_collection_name(self._prefix, family, name)
        registration = Registration.now(
            family, name, capacity=capacity, space=space, collection=collection, ttl_seconds=ttl_seconds
        )
        release = await self._connection.claim(family, name)
        if release is None:
            raise GroupExists(f"There is already a group {name!r}.")
        async with NewGroup(self._connection, registration, release=release, access=self._access) as filled:
            yield filled

    async def names(self, family: Family) -> list[str]:
        """Names of all groups of a family, sorted."""
        return sorted(name for of, name in await self._connection.groups() if of is family)

    async def info(self, family: Family, name: str) -> GroupInfo:
        """Capacity, number of tags and number of rows of a group."""
        async with self._access.reading(family, name) as group:
            counts = await group.counts()
            registration = group.registration
            return GroupInfo(registration.capacity, counts.tags, counts.rows, registration.ttl_seconds)

    async def remove(self, family: Family, name: str, *, count: bool = False) -> int | None:
        """Removes a group and its rows; its name is free at once.

        Returns:
            How many rows it had, where ``count`` asks for that.
        """

        async def work(group: Group) -> int | None:
            rows = (await group.counts()).rows if count else None
            await self._connection.unregister(group)
            await self._connection.discard(group.registration.collection)
            await self._connection.turns.drop(group.registration.collection)
            return rows

        return await self._access.write(family, name, work)

    async def space(self, family: Family, name: str) -> EmbeddingSpace:
        """Which model made the group's embeddings."""
        return (await self._access.group(family, name)).registration.space

    async def check(self, family: Family, name: str, space: EmbeddingSpace) -> None:
        """Makes sure that embeddings of ``space`` can be compared with those of the group.

        Raises:
            GroupNotFound: no such group.
            ModelMismatch: it was made with another model.
        """
        (await self._access.group(family, name)).registration.require(space)

    # --- rows ---

    async def contains(self, family: Family, name: str, id: str) -> bool:  # noqa: A002
        """Whether the group has a row of that id."""
        async with self._access.reading(family, name) as group:
            return id in await group.rows.tags_of([id])

    async def row(self, family: Family, name: str, id: str) -> Row:  # noqa: A002
        """The row of that id.

        Raises:
            ImageNotFound: there is none.
        """
        async with self._access.reading(family, name) as group:
            found = await group.rows.row(id)
        if found is None:
            raise ImageNotFound
        return found

    async def add(self, family: Family, name: str, record: Record) -> None:
        """Adds a row.

        Raises:
            IdExists: there is one of that id.
        """

        async def work(group: Group) -> None:
            found = await group.rows.found([record.row.id])
            if found.tags:
                raise IdExists
            await group.clear(found.over)
            with group.counting(added=[record.row.tag]):
                await group.rows.insert([record])

        await self._access.write(family, name, work)

    async def add_many(self, family: Family, name: str, records: Sequence[Record]) -> None:
        """Adds rows, all or none, as one write: at most one of ``batches``.

        Raises:
            IdExists: an id is there already, or twice among them; ``index`` says whose.
        """

        async def work(group: Group) -> None:
            await group.clear(await group.rows.require_new([record.row.id for record in records]))
            with group.counting(added=[record.row.tag for record in records]):
                await group.rows.insert(records)

        if records:
            await self._access.write(family, name, work)

    async def update(self, family: Family, name: str, record: Record) -> None:
        """Replaces a row: readers see the old one or the new one.

        Raises:
            ImageNotFound: there is none of that id.
        """

        async def work(group: Group) -> None:
            old = await group.rows.tags_of([record.row.id])
            if not old:
                raise ImageNotFound
            with group.counting(added=[record.row.tag], removed=old.values()):
                await group.rows.replace(record)

        await self._access.write(family, name, work)

    async def delete(self, family: Family, name: str, ids: Sequence[str]) -> list[str]:
        """Deletes rows.

        Returns:
            The ids that were there, each once, in the order asked for.
        """

        async def work(group: Group) -> list[str]:
            wanted = list(dict.fromkeys(ids))
            found = await group.rows.found(wanted)
            there = [each for each in wanted if each in found.tags]
            await group.clear(found.over)
            with group.counting(removed=found.tags.values()):
                await group.rows.delete(there)
            return there

        return await self._access.write(family, name, work)

    async def rows(self, family: Family, name: str, *, tag: str | None, after: str | None, limit: int) -> Page[Row]:
        """Rows by id in byte order: at most ``limit`` after the id ``after``, of one tag or of all."""
        async with self._access.reading(family, name) as group:
            return await group.rows.page(tag=tag, after=after, limit=limit)

    async def rows_of(self, family: Family, name: str, ids: Sequence[str]) -> dict[str, Row]:
        """The rows of these ids that are there, by id."""
        async with self._access.reading(family, name) as group:
            return await group.rows.of_ids(ids)

    async def embeddings(self, family: Family, name: str, *, after: str | None, limit: int) -> Embeddings:
        """Embeddings and tags in the order of ``rows``: of at most ``limit`` rows, at least 1, after ``after``."""
        async with self._access.reading(family, name) as group:
            return await group.rows.embeddings(after=after, limit=limit)

    async def records(
        self, family: Family, name: str, *, held: Held | None = None
    ) -> AsyncGenerator[Sequence[Record], None]:
        """All rows, or those held under some ids and tags, with embeddings in the order of ``rows``, some at a time.

        Writers are let in between: rows that change meanwhile come as before or as after, none twice.
        """
        group = await self._access.group(family, name)
        after: str | None = None
        while True:
            async with self._access.reading_on(group):
                page = await group.rows.records(after=after, limit=_RECORDS_AT_ONCE, held=held)
            yield page.items
            after = page.after
            if after is None:
                return

    async def tags(self, family: Family, name: str, *, after: str | None, limit: int) -> Page[TagCount]:
        """Tags by name with their number of rows: at most ``limit`` after the name ``after``."""
        async with self._access.reading(family, name) as group:
            return (await group.counts()).page(after=after, limit=limit)

    async def search(
        self,
        family: Family,
        name: str,
        vectors: NDArray[np.float32],
        *,
        limit: int,
        bound: float,
        tags: Collection[str] = (),
    ) -> list[list[Hit]]:
        """Finds the rows nearest to each vector.

        Args:
            family: family of the group.
            name: the group.
            vectors: float32 [Q, D], Q may be 0.
            limit: most hits per vector, at most 10,000.
            bound: largest L2 distance, or least cosine similarity, inclusive; by the group's metric.
            tags: search only inside these, at most 500; empty for all.

        Returns:
            One list per vector: best first, ties by id.
        """
        with stage(Stage.SEARCH):
            async with self._access.reading(family, name) as group:
                group.searched()
                return await group.rows.search(vectors, limit=limit, bound=bound, tags=tags) if len(vectors) else []

    async def search_then_add(
        self,
        family: Family,
        name: str,
        vectors: NDArray[np.float32],
        newcomers: Callable[[list[list[Hit]]], Sequence[Record]],
        *,
        limit: int,
        bound: float,
        tags: Collection[str] = (),
    ) -> list[list[Hit]]:
        """Searches and adds what the search did not find, with no other write in between.

        Args:
            family: family of the group.
            name: the group.
            vectors: float32 [Q, D], Q at least 1.
            newcomers: chooses the records to add, all or none, from the nearest rows of each vector in the whole
                group, whatever the tags; their ids must be new ones.
            limit: as in ``search``.
            bound: as in ``search``.
            tags: as in ``search``.

        Returns:
            What ``search`` found before the records were added.
        """

        async def work(group: Group) -> list[list[Hit]]:
            found = await group.rows.search(vectors, limit=limit, bound=bound, tags=tags)
            nearest = await group.rows.search(vectors, limit=1, bound=bound) if tags else found
            records = newcomers(nearest)
            if records:
                with group.counting(added=[record.row.tag for record in records]):
                    await group.rows.insert(records)
            return found

        with stage(Stage.SEARCH):
            return await self._access.write(family, name, work)
