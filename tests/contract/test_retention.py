"""Groups whose rows end: no read shows one whose time is over, sweeps delete it, and files keep its time."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from app.api.group_file import GroupFileReader, facts_of, group_file
from app.errors import IdExists, ImageNotFound
from app.services.transfer import GroupTransfer
from app.store.doctor import Doctor
from app.store.findings import Kind
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, GroupInfo, Held, Metric, Record, Row
from tests.contract.conftest import OpenStore
from tests.made_faces import BOX, made_spec
from tests.made_faces import SPACE as FACE_SPACE
from tests.rows import record

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMAGE = Family.IMAGE
SPACE = EmbeddingSpace("m", 4, Metric.L2)
TTL = 100


class Watch:
    """A clock that is set by hand; all processes look at it."""

    def __init__(self) -> None:
        self.time = 1_800_000_000.5

    def __call__(self) -> float:
        return self.time


Process = Callable[[], GroupStore]


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest_asyncio.fixture(loop_scope="session")
async def process(uri: str, open_store: OpenStore, tmp_path: Path, watch: Watch) -> AsyncIterator[Process]:
    """Opens stores as several processes have them: one prefix, one folder of locks, one clock."""
    prefix = f"t{secrets.token_hex(4)}"
    open_store(prefix=prefix)  # drops at the end what they made

    def make() -> GroupStore:
        return GroupStore(
            uri=uri, prefix=prefix, embedded=False, timeout_s=30, locks=str(tmp_path / "locks"), clock=watch
        )

    yield make


async def seen(store: GroupStore, group: str) -> dict[str, str]:
    """Ids and tags of what is to be seen; every read tells the same."""
    page = await store.rows(IMAGE, group, tag=None, after=None, limit=100)
    rows = {row.id: row.tag for row in page.items}
    (hits,) = await store.search(IMAGE, group, np.array([[0, 1, 0, 0]], np.float32), limit=100, bound=1e9)
    assert {hit.row.id: hit.row.tag for hit in hits} == rows
    (hits,) = await store.search(IMAGE, group, np.array([[0, 1, 0, 0]], np.float32), limit=1, bound=1e9)
    assert len(hits) == min(1, len(rows)), "what is over takes no place from what is not"
    tags = await store.tags(IMAGE, group, after=None, limit=100)
    assert {tag.name: tag.count for tag in tags.items} == {tag: list(rows.values()).count(tag) for tag in rows.values()}
    info = await store.info(IMAGE, group)
    assert (info.count, info.ttl_seconds) == (len(rows), TTL)
    assert (await store.embeddings(IMAGE, group, after=None, limit=100)).ids == list(rows)
    assert [one.row.id async for part in store.records(IMAGE, group) for one in part] == list(rows)
    under_tags = store.records(IMAGE, group, held=Held(("none",), tuple(set(rows.values()) | {"none"})))
    assert [one.row.id async for part in under_tags for one in part] == list(rows)
    assert set(await store.rows_of(IMAGE, group, list("abcdefgh"))) == set(rows)
    for each in "ac":
        assert await store.contains(IMAGE, group, each) == (each in rows)
    return rows


def face(name: str) -> Record:
    return Record(Row(name, "default", "{}", BOX), np.ones(4, np.float32))


async def stored(store: GroupStore, group: str) -> int:
    """Rows that the engine has, whether or not they are to be seen."""
    collection = (await store._access.group(IMAGE, group)).registration.collection
    return await (await store._connection.engine()).count(collection, "", strong=True)


async def test_rows_are_in_no_answer_once_their_time_is_over_and_then_they_are_deleted(
    process: Process, watch: Watch, group: str
) -> None:
    async with process() as first, process() as second:
        await first.create(IMAGE, group, capacity=9, space=SPACE, ttl_seconds=TTL)
        await first.add_many(IMAGE, group, [record(name, tag=f"t{name}", at=at) for at, name in enumerate("abcd")])
        watch.time += 50
        await second.update(IMAGE, group, record("c", tag="again", at=2))
        await second.add(IMAGE, group, record("e", tag="ta", at=4))
        watch.time += 50.4  # the last moment: ends are rounded up to whole seconds
        everything = {"a": "ta", "b": "tb", "c": "again", "d": "td", "e": "ta"}
        assert [await seen(store, group) for store in (first, second)] == [everything, everything]
        watch.time += 0.1
        assert [await seen(store, group) for store in (first, second)] == [{"c": "again", "e": "ta"}] * 2
        assert await stored(first, group) == 5

        # What is over is not there to any write either, and what comes in its place is there once.
        with pytest.raises(ImageNotFound):
            await first.update(IMAGE, group, record("a"))
        assert await first.delete(IMAGE, group, ["a", "e", "unknown"]) == ["e"]
        await first.add(IMAGE, group, record("b", tag="new", at=1))
        await second.add_many(IMAGE, group, [record("d", tag="new", at=3)])
        with pytest.raises(IdExists):
            await second.add(IMAGE, group, record("c"))
        now = {"b": "new", "c": "again", "d": "new"}
        assert [await seen(store, group) for store in (first, second)] == [now, now]
        assert await stored(first, group) == 3, "a was asked to be deleted, and b and d were replaced"

        # A clock that is set back shows what was not deleted yet, and is counted as it is seen.
        watch.time += 50
        assert await seen(first, group) == {"b": "new", "d": "new"}
        watch.time -= 50
        assert await seen(first, group) == now
        watch.time += 50

        # Two processes sweep at once: each row is deleted once.
        await first.add_many(IMAGE, group, [record(f"x{n:03d}", tag=f"x{n % 3}") for n in range(450)])
        watch.time += TTL
        assert await stored(first, group) == 453
        assert sum(await asyncio.gather(first.sweep(), second.sweep())) == 453
        assert (await stored(first, group), await first.sweep()) == (0, 0)
        assert [await seen(store, group) for store in (first, second)] == [{}, {}]
    async with process() as after_a_restart:
        assert await after_a_restart.info(IMAGE, group) == GroupInfo(9, tags=0, count=0, ttl_seconds=TTL)
        await after_a_restart.remove(IMAGE, group)


async def test_a_file_keeps_the_time_of_each_row_and_a_doctor_shortens_what_a_wrong_clock_made_long(
    process: Process, watch: Watch, group: str
) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for piece in written:
            yield piece

    family = Family.FACE
    async with process() as store:
        transfer = GroupTransfer(store, {family: made_spec}, most=1)
        await store.create(family, group, capacity=9, space=FACE_SPACE, ttl_seconds=TTL)
        await store.add(family, group, face("early"))
        watch.time += 60
        await store.add(family, group, face("late"))
        watch.time += 30
        async with transfer.export(family, group) as export:
            written = [piece async for piece in group_file(export)]
        assert b'"version":2' in written[0]
        await store.remove(family, group)

        # Time goes on while a row is in a file.
        watch.time += 20
        reader = GroupFileReader(pieces())
        facts = facts_of(await reader.header(), name=group)
        assert await transfer.restore(facts, reader.records()) == 1
        assert await store.info(family, group) == GroupInfo(9, tags=1, count=1, ttl_seconds=TTL)
        watch.time += 49
        assert await store.contains(family, group, "late")
        watch.time += 2
        assert not await store.contains(family, group, "late")

        watch.time += 1_000_000
        await store.add(family, group, face("future"))
        watch.time -= 1_000_000
        engine = await store._connection.engine()
        doctor = Doctor(engine, store._prefix, {}, clock=watch)
        [finding] = [each async for each in doctor.findings()]
        assert (finding.kind, finding.place) == (Kind.LATE_END, f"face/{group}")
        assert finding.remedy is not None
        await finding.remedy.act()
        assert [each async for each in doctor.findings()] == []
        assert await store.contains(family, group, "future")
        watch.time += TTL + 1
        assert not await store.contains(family, group, "future")
        await store.remove(family, group)
