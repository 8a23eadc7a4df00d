"""The way to Milvus and to the groups in it: opened on first use, by one caller for all that wait."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from app.errors import BackendUnavailable, GroupExists, LikenessError
from app.metrics import StoreMetrics
from app.store.engine import Engine
from app.store.expiry import Clock
from app.store.group import Group
from app.store.milvus_errors import UNAVAILABLE
from app.store.names import holds_rows, registry_name
from app.store.partition_keys import EngineFacts, PartitionKeys
from app.store.records import Family
from app.store.registry import Registration, Registry
from app.store.sharing import turns_at
from app.store.turns import Alone, Release, Turns

_PING_TIMEOUT_S = 2.0
_REGISTRY = "registry"
_REGISTRY_MISSING = (
    "The registry of groups is missing in Milvus, though collections of groups are there, so that nobody can tell "
    "which group each serves: restore a backup, or start with another LIKENESS_MILVUS_PREFIX."
)

_log = logging.getLogger("likeness.store")


class Connection:
    """Holds the engine and the groups that the registry names.

    The registry is read once, and again after a change to it failed half-way.
    """

    def __init__(
        self,
        *,
        uri: str,
        token: str,
        database: str,
        prefix: str,
        embedded: bool,
        timeout_s: float,
        pending: Path | None,
        locks: str | None,
        metrics: StoreMetrics,
        clock: Clock,
    ) -> None:
        self.clock = clock
        self._uri = uri
        self._token = token
        self._database = database
        self._prefix = prefix
        self._embedded = embedded
        self._timeout_s = timeout_s
        self._pending = pending
        self._locks = locks
        self._turns: Turns | None = None
        self._domain = ""
        self._former: list[Turns] = []
        self._metrics = metrics
        self._engine: Engine | None = None
        self._groups: dict[tuple[Family, str], Group] = {}
        self._known = False
        self._generation = 0  # of the registry when it was read
        self._cleaned = False
        self._opening: asyncio.Task[Engine] | None = None
        self._reserved: set[tuple[Family, str]] = set()
        self._leftovers: set[str] = set()  # collections of no group that could not be dropped yet
        self.partition_keys = PartitionKeys(prefix)
        self._registry_lock = asyncio.Lock()  # a reading must not fall between a change and its mark in memory

    async def engine(self) -> Engine:
        """The engine, with the registry read.

        Raises:
            BackendUnavailable: Milvus does not answer.
        """
        if self._engine is not None and self._engine.lost_a_collection():
            _log.error("Milvus has lost a collection: reading the registry again")
            self._known = False
        while self._engine is None or not self._known or not await self._is_current():
            if self._opening is None:
                self._opening = asyncio.create_task(self._open())
                self._opening.add_done_callback(self._opened)
            # It may have begun before the change that was just seen: then once more.
            await asyncio.shield(self._opening)
        return self._engine

    @property
    def turns(self) -> Turns:
        """Keeps apart the processes that use this Milvus; there once the engine was."""
        assert self._turns is not None, "the engine was asked for before"
        return self._turns

    async def groups(self) -> dict[tuple[Family, str], Group]:
        """All groups by family and name."""
        await self.engine()
        return self._groups

    def facts(self) -> EngineFacts | None:
        """What is known of the engine; None until it has answered."""
        if self._engine is None:
            return None
        return EngineFacts(self._engine.profile.engine, self._engine.profile.version, self.partition_keys.decision)

    def sample(self) -> None:
        """Tells of the groups and rows that are known without asking Milvus."""
        for family in Family:
            counts = [group.known_rows for (of, _), group in self._groups.items() if of is family]
            counted = [rows for rows in counts if rows is not None]
            self._metrics.groups(family, number=len(counts), counted=len(counted), rows=sum(counted))

    async def ping(self) -> None:
        """Raises BackendUnavailable unless Milvus answers within two seconds."""
        try:
            async with asyncio.timeout(_PING_TIMEOUT_S):
                engine = await self.engine()
                await engine.has(registry_name(self._prefix), timeout_s=_PING_TIMEOUT_S)
        except TimeoutError as error:
            raise BackendUnavailable(UNAVAILABLE) from error

    def forget(self) -> None:
        """Makes every collection be loaded, and every group counted, before its next use."""
        if self._engine is not None:
            self._engine.forget_loaded()
        for group in self._groups.values():
            group.forget_counts()

    async def close(self) -> None:
        """Ends an opening under way and closes the engine."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        await self.partition_keys.close()
        for group in self._groups.values():
            await group.close()
        if self._engine is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PING_TIMEOUT_S):
                    await self._drop_leftovers(self._engine)
            await self._engine.close()
        for turns in [*self._former, *([self._turns] if self._turns is not None else [])]:
            await turns.close()

    async def claim(self, family: Family, name: str) -> Release | None:
        """Takes a name for a group about to be made; None if there is one, or another caller has the name.

        Returns:
            What gives the name back.
        """
        await self.engine()
        key = (family, name)
        if key in self._reserved:
            return None
        self._reserved.add(key)
        try:
            release = await self.turns.claim(f"{family}/{name}")
        except BaseException:
            self._reserved.discard(key)
            raise

        async def free() -> None:
            self._reserved.discard(key)
            if release is not None:
                await release()

        try:
            if release is not None and key not in await self.groups():
                return free
        except BaseException:
            await asyncio.shield(free())
            raise
        await asyncio.shield(free())
        return None

    async def register(self, registration: Registration, *, rows: int) -> None:
        """Makes a group exist, which holds so many rows already."""
        engine = await self.engine()
        async with self._registry_change() as changed:
            registry = Registry(engine, registry_name(self._prefix))
            # Its name is claimed, but a claim can be lost, e.g. with the Redis that keeps it.
            if changed and any(_key(each) == _key(registration) for each in await registry.read()):
                raise GroupExists(f"There is already a group {registration.name!r}.")
            await registry.write(registration)
            group = Group(engine, registration, clock=self.clock)
            group.wrote(rows)
            self._groups[registration.family, registration.name] = group
        await self._drop_leftovers(engine)

    async def unregister(self, group: Group) -> None:
        """Ends a group's existence; its collection stays."""
        engine = await self.engine()
        async with self._registry_change():
            await Registry(engine, registry_name(self._prefix)).erase(group.registration)
            group.removed = True
            self._groups.pop((group.registration.family, group.registration.name), None)
        await group.close()

    async def discard(self, collection: str) -> None:
        """Drops a collection that serves no group and never will; later, where Milvus does not answer now."""
        self._leftovers.add(collection)
        if self._engine is not None:
            await self._drop_leftovers(self._engine)

    async def _drop_leftovers(self, engine: Engine) -> None:
        for collection in list(self._leftovers):
            try:
                await engine.drop(collection)
            except LikenessError:
                _log.warning("Could not drop the collection %s, which serves no group", collection)
                return
            self._leftovers.discard(collection)

    @asynccontextmanager
    async def _registry_change(self) -> AsyncIterator[bool]:
        """Yields whether another process has changed the registry since it was read."""
        async with self._registry_lock, self.turns.writing(_REGISTRY) as turn:
            changed = turn.before != self._generation
            if changed:
                self._known = False  # another process changed it: read it again before its next use
            self._generation = turn.after
            try:
                yield changed
            except BaseException:
                self._known = False  # it may have happened all the same
                raise

    async def _is_current(self) -> bool:
        return await self.turns.generation(_REGISTRY) == self._generation

    async def _open(self) -> Engine:
        if self._engine is None:
            self._engine = await Engine.connect(
                uri=self._uri,
                token=self._token,
                database=self._database,
                timeout_s=self._timeout_s,
                pending=self._pending,
                metrics=self._metrics,
            )
        async with self._registry_lock:
            registry = await self._prepared(self._engine)
            turns = await self._meet(self._engine)
            async with turns.reading(_REGISTRY) as generation:
                await self._read(self._engine, registry)
                self._generation = generation
        self.partition_keys.begin(self._engine)
        return self._engine

    async def _prepared(self, engine: Engine) -> Registry:
        registry = Registry(engine, registry_name(self._prefix))
        if not await registry.exists():
            # An empty one would make collections without a group of them all, and those are dropped.
            if await self._collections(engine):
                _log.error("The registry is missing, and there are collections of groups")
                raise BackendUnavailable(_REGISTRY_MISSING)
            try:
                await registry.prepare()
            except LikenessError:
                if not await registry.exists():  # another process was faster
                    raise
        return registry

    async def _meet(self, engine: Engine) -> Turns:
        """Where all processes meet that mean the same registry, however each spells the address."""
        # Asked again with each reading: a registry that was made anew is another one.
        domain = "" if self._locks is None else await engine.identity(registry_name(self._prefix))
        if self._turns is None or domain != self._domain:
            if self._turns is not None:
                self._former.append(self._turns)  # somebody may hold a turn there
            self._turns = Alone() if self._locks is None else turns_at(self._locks, domain)
            self._domain = domain
            if self._locks is not None:
                where = "Redis" if "://" in self._locks else self._locks or "files of this machine"
                _log.info("Processes that use this Milvus take turns through %s", where)
        return self._turns

    async def _read(self, engine: Engine, registry: Registry) -> None:
        found = {(each.family, each.name): each for each in await registry.read()}
        for key, group in list(self._groups.items()):
            if found.get(key) != group.registration:
                group.removed = True
                del self._groups[key]
                await group.close()
        for key, registration in found.items():
            if key not in self._groups:
                self._groups[key] = Group(engine, registration, clock=self.clock)
        if not self._cleaned:
            await self._clean(engine)
            self._cleaned = True
        await self._drop_leftovers(engine)
        self._known = True

    async def _clean(self, engine: Engine) -> None:
        serving = {group.registration.collection for group in self._groups.values()}
        orphans = [each for each in await self._collections(engine) if each not in serving]
        if orphans and not self._embedded:
            _log.warning("%d collections of this prefix belong to no group", len(orphans))
            return
        for orphan in orphans:
            _log.info("Dropping the collection %s, which belongs to no group", orphan)
            await engine.drop(orphan)

    async def _collections(self, engine: Engine) -> list[str]:
        return [each for each in await engine.collections() if holds_rows(self._prefix, each)]

    def _opened(self, task: asyncio.Task[Engine]) -> None:
        self._opening = None
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, LikenessError):
            _log.error("Could not read the registry", exc_info=error)


def _key(registration: Registration) -> tuple[Family, str]:
    return registration.family, registration.name
