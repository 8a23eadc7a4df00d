"""Many rows at once, groups that appear whole or not at all, and rows read with their embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

import numpy as np
import pytest

from app.api.group_file import GroupFileReader, facts_of, group_file
from app.errors import DamagedFile, GroupExists, GroupNotFound, IdExists
from app.services.transfer import GroupTransfer
from app.store.batches import batches
from app.store.groups import GroupStore
from app.store.records import BoundingBox, EmbeddingSpace, Family, GroupInfo, Metric, Record, Row
from tests.made_faces import SPACE as FACE_SPACE
from tests.made_faces import made_spec
from tests.rows import record, walk

pytestmark = pytest.mark.asyncio(loop_scope="session")

T = TypeVar("T")

SPACE = EmbeddingSpace("m", 4, Metric.L2)
IMAGE, FACE = Family.IMAGE, Family.FACE


def faces(number: int) -> list[Record]:
    """Faces with what is hard to keep: quotes, newlines, odd floats, boxes with and without a score."""
    random = np.random.default_rng(5)
    made = []
    for each in range(number):
        box = BoundingBox(((each, 2), (30, 2), (30, 40), (-1, 40)), None if each % 3 == 0 else float(random.random()))
        row = Row(f"é'{each:05d}\"\n", f"t'{each % 4}\\", f'{{"n":{each},"a":1e999,"b":[1.0,"ü\\n"]}}', box)
        made.append(Record(row, (random.standard_normal(4) * 10.0 ** random.integers(-6, 6)).astype(np.float32)))
    return made


async def each(items: Sequence[T]) -> AsyncIterator[T]:
    for one in items:
        yield one


async def stored(store: GroupStore, family: Family, group: str) -> list[tuple[Row, bytes]]:
    return [(one.row, one.embedding.tobytes()) async for part in store.records(family, group) for one in part]


async def test_many_rows_are_added_as_one_write_and_counted_exactly(store: GroupStore, filled: str) -> None:
    await store.add(IMAGE, filled, record("z", tag="t0"))
    await store.info(IMAGE, filled)
    await store.add_many(IMAGE, filled, [record(f"i{number:04d}", tag=f"t{number % 3}") for number in range(1000)])
    await store.add_many(IMAGE, filled, [])
    assert await store.info(IMAGE, filled) == GroupInfo(1000, tags=3, count=1001)
    assert len(await walk(store, filled, limit=400)) == 1001
    found = await store.search(IMAGE, filled, np.array([[1, 1, 0, 0]], np.float32), limit=2000, bound=1.0)
    assert len(found[0]) == 1001


@pytest.mark.parametrize(("ids", "index"), [(["a", "b", "taken", "c"], 2), (["a", "b", "a"], 2), (["taken"], 0)])
async def test_an_id_that_is_there_or_twice_among_many_is_named_and_none_is_added(
    store: GroupStore, filled: str, ids: list[str], index: int
) -> None:
    await store.add(IMAGE, filled, record("taken", tag="first"))
    with pytest.raises(IdExists) as refused:
        await store.add_many(IMAGE, filled, [record(name, tag="second") for name in ids])
    assert refused.value.index == index
    assert [(row.id, row.tag) for row in await walk(store, filled, limit=10)] == [("taken", "first")]
    assert await store.info(IMAGE, filled) == GroupInfo(1000, tags=1, count=1)


async def test_of_batches_that_share_an_id_one_wins_whole(store: GroupStore, filled: str) -> None:
    many = [[record(f"b{batch}-{n}", tag=f"t{batch}") for n in range(20)] + [record("shared")] for batch in range(6)]
    ended = await asyncio.gather(*(store.add_many(IMAGE, filled, part) for part in many), return_exceptions=True)
    assert [type(one) for one in ended].count(IdExists) == 5
    winner = ended.index(None)
    rows = await walk(store, filled, limit=100)
    assert {row.id for row in rows} == {one.row.id for one in many[winner]}
    assert (await store.info(IMAGE, filled)).count == len(rows) == 21


async def test_a_group_is_exported_and_restored_bit_for_bit_and_of_a_cut_file_nothing_stays(
    store: GroupStore, group: str
) -> None:
    transfer = GroupTransfer(store, {FACE: made_spec}, most=1)
    made = faces(700)
    await store.create(FACE, f"{group}-a", capacity=9, space=FACE_SPACE)
    async for batch in batches(each(made)):
        await store.add_many(FACE, f"{group}-a", batch)
    first = await stored(store, FACE, f"{group}-a")
    assert first == [(one.row, one.embedding.tobytes()) for one in made]
    async with transfer.export(FACE, f"{group}-a") as export:
        pieces = [piece async for piece in group_file(export)]

    async def restore(pieces: list[bytes]) -> int:
        reader = GroupFileReader(each(pieces))
        facts = facts_of(await reader.header(), name=f"{group}-b")
        return await transfer.restore(facts, reader.records())

    with pytest.raises(DamagedFile):
        await restore(pieces[:-1])
    assert f"{group}-b" not in await store.names(FACE)
    assert await restore(pieces) == 700
    assert await stored(store, FACE, f"{group}-b") == first
    assert await store.info(FACE, f"{group}-b") == await store.info(FACE, f"{group}-a")


async def test_a_walk_ends_when_its_group_is_removed_even_if_another_takes_the_name(
    store: GroupStore, group: str
) -> None:
    await store.create(IMAGE, group, capacity=1, space=SPACE)
    await store.add_many(IMAGE, group, [record(f"i{number:04d}") for number in range(300)])
    with pytest.raises(GroupNotFound):
        await stored(store, IMAGE, f"{group}-x")
    walk_through = store.records(IMAGE, group)
    assert len(await anext(walk_through)) == 256
    await store.remove(IMAGE, group)
    await store.create(IMAGE, group, capacity=1, space=SPACE)
    with pytest.raises(GroupNotFound):
        await anext(walk_through)
    assert await stored(store, IMAGE, group) == []


async def test_a_group_that_is_being_filled_is_seen_by_nobody_and_appears_whole_or_not_at_all(
    store: GroupStore, group: str
) -> None:
    reached = asyncio.Event()

    async def fill(*, error: bool) -> None:
        async with store.filling(IMAGE, group, capacity=7, space=SPACE) as new:
            await new.add([record("of a try before")])
            reached.set()
            if error:
                raise ZeroDivisionError
            await asyncio.sleep(60)

    with pytest.raises(ZeroDivisionError):
        await fill(error=True)
    reached.clear()
    task = asyncio.create_task(fill(error=False))
    await reached.wait()
    assert group not in await store.names(IMAGE)
    with pytest.raises(GroupNotFound):
        await store.info(IMAGE, group)
    with pytest.raises(GroupExists):
        await store.create(IMAGE, group, capacity=1, space=SPACE)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert group not in await store.names(IMAGE)
    async with store.filling(IMAGE, group, capacity=7, space=SPACE) as new:
        await new.add([record("a"), record("b")])
        with pytest.raises(IdExists):
            await new.add([record("c"), record("a")])
    assert await store.info(IMAGE, group) == GroupInfo(7, tags=1, count=2)
    with pytest.raises(GroupExists):
        async with store.filling(IMAGE, group, capacity=7, space=SPACE):
            pass
