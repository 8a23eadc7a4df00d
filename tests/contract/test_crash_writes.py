"""A kill -9 of Milvus among adds, updates, deletes and makings and removals of groups: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from app.errors import BackendUnavailable, GroupExists, GroupNotFound, IdExists, ImageNotFound
from app.store.doctor import Doctor
from app.store.engine import Engine
from app.store.groups import GroupStore
from app.store.records import Family, GroupInfo, TagCount
from loadtest.hammer_group import SPACE, record, tag_of, value_of
from loadtest.ledger import Ledger
from tests.rows import walk

Change = Callable[[], Awaitable[None]]
OpenStore = Callable[..., GroupStore]

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMAGE = Family.IMAGE


@dataclass
class Writers:
    """Tasks that write to one store; each row and each passing group has one writer."""

    store: GroupStore
    rows: Ledger[int] = field(default_factory=Ledger)
    groups: Ledger[int] = field(default_factory=Ledger)
    acknowledged: int = 0
    stopped: bool = False
    numbers: int = 0

    async def write_rows(self, worker: int) -> None:
        dice = random.Random(worker)
        while not self.stopped:
            name = f"w{worker}-{dice.randrange(10)}"
            there = self.rows.allowed(name, self.rows.now())
            self.numbers += 1
            gone = None not in there and dice.random() < 0.4
            write = self.rows.begin(name, None if gone else self.numbers)
            try:
                if gone:
                    await self.store.delete(IMAGE, "kept", [name])
                elif None in there:
                    await self.store.add(IMAGE, "kept", record(name, self.numbers_of(write.value)))
                else:
                    await self.store.update(IMAGE, "kept", record(name, self.numbers_of(write.value)))
            except BackendUnavailable:
                await asyncio.sleep(0.05)
            except (IdExists, ImageNotFound):
                assert len(there) > 1, "an outcome was known, and the next call met another"
                self.rows.refused(write)
            else:
                self.rows.answered(write)
                self.acknowledged += 1

    async def write_group(self) -> None:
        while not self.stopped:
            there = self.groups.allowed("passing", self.groups.now())
            self.numbers += 1
            make = there == {None}
            write = self.groups.begin("passing", self.numbers if make else None)
            try:
                if make:
                    await self.store.create(IMAGE, "passing", capacity=self.numbers_of(write.value), space=SPACE)
                else:
                    await self.store.remove(IMAGE, "passing")
            except BackendUnavailable:
                await asyncio.sleep(0.05)
            except GroupNotFound:
                assert len(there) > 1
                self.groups.answered(write)
            except GroupExists:
                raise AssertionError("a removal that was answered is undone") from None
            else:
                self.groups.answered(write)

    @staticmethod
    def numbers_of(value: int | None) -> int:
        assert value is not None
        return value

    async def reach(self, more: int) -> None:
        wanted = self.acknowledged + more
        async with asyncio.timeout(90):
            while self.acknowledged < wanted:
                await asyncio.sleep(0.005)


async def test_a_kill_among_writes_of_every_kind_loses_and_undoes_nothing(
    open_store: OpenStore, kill: Change, start: Change, uri: str, request: pytest.FixtureRequest
) -> None:
    prefix = f"t{secrets.token_hex(4)}"
    async with open_store(prefix=prefix, timeout_s=10.0) as store:
        await store.create(IMAGE, "kept", capacity=1000, space=SPACE)
        writers = Writers(store)
        tasks = [asyncio.create_task(writers.write_rows(worker)) for worker in range(8)]
        tasks.append(asyncio.create_task(writers.write_group()))
        await writers.reach(80)
        await kill()
        await start()
        if request.node.callspec.params["engine"] == "lite":
            store.forget()  # as the supervisor of the embedded one does; nobody tells of a server's restart
        await writers.reach(40)
        writers.stopped = True
        await asyncio.gather(*tasks)
    async with open_store(prefix=prefix) as after:
        rows = await walk(after, "kept", limit=50)
        seen = {row.id: value_of(row) for row in rows}
        assert len(seen) == len(rows)
        for name in {*writers.rows.booked(), *seen}:
            assert seen.get(name) in writers.rows.allowed(name, writers.rows.now()), name
        counts = Counter(map(tag_of, seen.values()))
        assert await after.info(IMAGE, "kept") == GroupInfo(1000, tags=len(counts), count=len(rows))
        assert (await after.tags(IMAGE, "kept", after=None, limit=9)).items == [
            TagCount(tag, counts[tag]) for tag in sorted(counts)
        ]
        there = "passing" in await after.names(IMAGE)
        generation = (await after.info(IMAGE, "passing")).capacity if there else None
        assert generation in writers.groups.allowed("passing", writers.groups.now())
    engine = await Engine.connect(uri=uri, token="", database="", timeout_s=30)
    findings = [(each.kind, each.place, each.wrong) async for each in Doctor(engine, prefix, {}).findings()]
    await engine.close()
    assert findings == []
