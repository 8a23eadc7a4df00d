"""Rows: written once, read exactly, listed in order, counted exactly, whole at every moment."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from app.errors import Closing, IdExists, ImageNotFound
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, GroupInfo, Metric, Record, Row, TagCount
from tests.rows import record, walk

OpenStore = Callable[..., GroupStore]

pytestmark = pytest.mark.asyncio(loop_scope="session")

SPACE = EmbeddingSpace("m", 4, Metric.L2)
IMAGE = Family.IMAGE


async def test_an_added_row_is_found_listed_and_counted_at_once(store: GroupStore, filled: str) -> None:
    for number in range(20):
        await store.add(IMAGE, filled, record(f"i{number}", tag=f"t{number % 3}", desc='{"n": 1}'.replace(" ", "")))
        assert await store.contains(IMAGE, filled, f"i{number}")
        assert (await store.info(IMAGE, filled)).count == number + 1
        assert len((await store.rows(IMAGE, filled, tag=None, after=None, limit=100)).items) == number + 1
        query = np.array([[1, 1, 0, 0]], np.float32)
        assert len((await store.search(IMAGE, filled, query, limit=100, bound=1.0))[0]) == number + 1


async def test_an_id_that_is_there_is_refused_and_its_row_stays(store: GroupStore, filled: str) -> None:
    await store.add(IMAGE, filled, record("a", tag="first"))
    with pytest.raises(IdExists):
        await store.add(IMAGE, filled, record("a", tag="second"))
    assert [row.tag for row in await walk(store, filled, limit=10)] == ["first"]
    assert await store.info(IMAGE, filled) == GroupInfo(1000, tags=1, count=1)


async def test_of_many_adds_of_one_id_at_once_one_wins(store: GroupStore, filled: str) -> None:
    ended = await asyncio.gather(
        *(store.add(IMAGE, filled, record("same", tag=f"t{number}")) for number in range(10)), return_exceptions=True
    )
    assert Counter(type(each) for each in ended) == {type(None): 1, IdExists: 9}
    winner = ended.index(None)
    assert [row.tag for row in await walk(store, filled, limit=10)] == [f"t{winner}"]


async def test_an_update_replaces_image_tag_and_desc_and_needs_a_row(store: GroupStore, filled: str) -> None:
    with pytest.raises(ImageNotFound):
        await store.update(IMAGE, filled, record("a"))
    assert (await store.info(IMAGE, filled)).count == 0
    await store.add(IMAGE, filled, record("a", tag="old", desc="1", at=1.0))
    await store.update(IMAGE, filled, record("a", tag="new", desc="2", at=9.0))
    assert await walk(store, filled, limit=10) == [Row("a", "new", "2", None)]
    assert await walk(store, filled, tag="old", limit=10) == []
    (hits,) = await store.search(IMAGE, filled, np.array([[9, 1, 0, 0]], np.float32), limit=10, bound=20.0)
    assert [(hit.row.id, hit.measure) for hit in hits] == [("a", 0.0)]
    assert (await store.tags(IMAGE, filled, after=None, limit=10)).items == [TagCount("new", 1)]


async def test_readers_see_the_old_row_or_the_new_one_never_none_and_never_both(store: GroupStore, filled: str) -> None:
    await store.add(IMAGE, filled, record("a", tag="0", desc="0"))
    done = asyncio.Event()
    seen: set[str] = set()

    async def read() -> None:
        query = np.array([[1, 1, 0, 0]], np.float32)
        while not done.is_set():
            (hits,) = await store.search(IMAGE, filled, query, limit=10, bound=100.0)
            listed = (await store.rows(IMAGE, filled, tag=None, after=None, limit=10)).items
            for rows in ([hit.row for hit in hits], listed):
                assert len(rows) == 1
                assert rows[0].tag == rows[0].desc
                seen.add(rows[0].tag)
            assert await store.info(IMAGE, filled) == GroupInfo(1000, tags=1, count=1)

    readers = [asyncio.create_task(read()) for _ in range(4)]
    for number in range(1, 41):
        await store.update(IMAGE, filled, record("a", tag=str(number), desc=str(number), at=1 + number / 100))
    done.set()
    await asyncio.gather(*readers)
    assert len(seen) > 5


async def test_a_row_is_read_by_its_id(store: GroupStore, filled: str) -> None:
    with pytest.raises(ImageNotFound):
        await store.row(IMAGE, filled, "a")
    await store.add(IMAGE, filled, record("a", tag="t", desc="1"))
    await store.add(IMAGE, filled, record("a ", tag="t", desc="2"))
    assert await store.row(IMAGE, filled, "a") == Row("a", "t", "1", None)
    await store.update(IMAGE, filled, record("a", tag="u", desc="3"))
    assert await store.row(IMAGE, filled, "a") == Row("a", "u", "3", None)
    await store.delete(IMAGE, filled, ["a"])
    with pytest.raises(ImageNotFound):
        await store.row(IMAGE, filled, "a")


async def test_delete_names_what_was_there_once_in_the_order_asked_for(store: GroupStore, filled: str) -> None:
    for name in ("a", "b", "c", "d"):
        await store.add(IMAGE, filled, record(name, tag=f"t{name}"))
    assert await store.delete(IMAGE, filled, ["c", "nope", "a", "c", "a"]) == ["c", "a"]
    assert [row.id for row in await walk(store, filled, limit=10)] == ["b", "d"]
    (hits,) = await store.search(IMAGE, filled, np.ones((1, 4), np.float32), limit=10, bound=100.0)
    assert sorted(hit.row.id for hit in hits) == ["b", "d"]
    assert await store.info(IMAGE, filled) == GroupInfo(1000, tags=2, count=2)
    assert await store.delete(IMAGE, filled, ["c", "nope"]) == []
    assert await store.delete(IMAGE, filled, []) == []
    await store.add(IMAGE, filled, record("c", tag="again"))
    assert await store.contains(IMAGE, filled, "c")


async def test_each_deleted_row_is_gone_for_the_very_next_reader(store: GroupStore, filled: str) -> None:
    for number in range(10):
        await store.add(IMAGE, filled, record(f"i{number}"))
    for number in range(10):
        await store.delete(IMAGE, filled, [f"i{number}"])
        assert not await store.contains(IMAGE, filled, f"i{number}")
        assert (await store.info(IMAGE, filled)).count == 9 - number


async def test_more_ids_than_one_expression_holds_are_deleted_together(store: GroupStore, filled: str) -> None:
    names = [f"{number:03d}" + "\\" * 4000 for number in range(40)]
    await asyncio.gather(*(store.add(IMAGE, filled, record(name)) for name in names))
    wanted = [*(f"absent{number}" for number in range(700)), *reversed(names)]
    assert await store.delete(IMAGE, filled, wanted) == names[::-1]
    assert (await store.info(IMAGE, filled)).count == 0


async def test_a_walk_gives_every_row_once_in_order(store: GroupStore, filled: str) -> None:
    names = [f"{number:03d}" for number in range(130)]
    random.Random(1).shuffle(names)
    for name in names:
        await store.add(IMAGE, filled, record(name, tag="even" if int(name) % 2 == 0 else "odd"))
    for limit in (1, 7, 64, 129, 130, 131, 1000):
        assert [row.id for row in await walk(store, filled, limit=limit)] == sorted(names)
    for limit in (13, 65, 100):
        assert [row.id for row in await walk(store, filled, tag="odd", limit=limit)] == sorted(names)[1::2]
    assert await walk(store, filled, tag="none", limit=10) == []
    await store.delete(IMAGE, filled, ["064"])
    page = await store.rows(IMAGE, filled, tag=None, after="064", limit=2)
    assert [row.id for row in page.items] == ["065", "066"]


async def test_a_walk_among_writes_repeats_nothing_and_misses_nothing_that_stayed(
    store: GroupStore, filled: str
) -> None:
    kept = [f"k{secrets.token_hex(6)}" for _ in range(60)]
    for name in kept:
        await store.add(IMAGE, filled, record(name))
    done = asyncio.Event()

    async def disturb() -> None:
        number = 0
        while not done.is_set():
            number += 1
            name = f"k{secrets.token_hex(6)}"
            await store.add(IMAGE, filled, record(name))
            await store.update(IMAGE, filled, record(random.choice(kept), tag=str(number)))
            if number % 2:
                await store.delete(IMAGE, filled, [name])

    task = asyncio.create_task(disturb())
    for _ in range(3):
        seen = [row.id for row in await walk(store, filled, limit=4)]
        assert seen == sorted(set(seen))
        assert set(kept) <= set(seen)
    done.set()
    await task


async def test_tag_counts_are_exact_after_any_writes(store: GroupStore, filled: str) -> None:
    dice = random.Random(7)
    truth: dict[str, str] = {}
    for step in range(120):
        name, tag = f"i{dice.randrange(25)}", f"tag{dice.randrange(6)}"
        choice = dice.random()
        if choice < 0.5 and name not in truth:
            await store.add(IMAGE, filled, record(name, tag=tag))
            truth[name] = tag
        elif choice < 0.8 and name in truth:
            await store.update(IMAGE, filled, record(name, tag=tag))
            truth[name] = tag
        else:
            victims = [name, f"i{dice.randrange(25)}"]
            gone = await store.delete(IMAGE, filled, victims)
            assert set(gone) == set(victims) & truth.keys()
            for each in gone:
                del truth[each]
        if step == 60:
            store.forget()  # what was counted by deltas so far is counted by a scan now
        counts = Counter(truth.values())
        expected = [TagCount(tag, counts[tag]) for tag in sorted(counts)]
        first = await store.tags(IMAGE, filled, after=None, limit=3)
        rest = await store.tags(IMAGE, filled, after=first.after, limit=100) if first.after else None
        assert [*first.items, *(rest.items if rest else [])] == expected
        assert await store.info(IMAGE, filled) == GroupInfo(1000, tags=len(counts), count=len(truth))


@pytest.mark.parametrize("hops", range(0, 12, 2))
async def test_a_write_whose_caller_goes_away_happens_whole_or_not_at_all(
    store: GroupStore, filled: str, hops: int
) -> None:
    await store.add(IMAGE, filled, record("a", tag="old", desc="1"))
    assert (await store.info(IMAGE, filled)).count == 1
    update = asyncio.create_task(store.update(IMAGE, filled, record("a", tag="new", desc="2")))
    addition = asyncio.create_task(store.add(IMAGE, filled, record("b", tag="new")))
    for _ in range(hops):
        await asyncio.sleep(0.001)
    update.cancel()
    addition.cancel()
    await asyncio.gather(update, addition, return_exceptions=True)
    # The lock is free only after the writes ended, so this reads what they left.
    rows = await walk(store, filled, limit=10)
    assert rows[0] in (Row("a", "old", "1", None), Row("a", "new", "2", None))
    counts = Counter(row.tag for row in rows)
    assert (await store.tags(IMAGE, filled, after=None, limit=9)).items == [
        TagCount(tag, counts[tag]) for tag in sorted(counts)
    ]
    assert (await store.info(IMAGE, filled)).count == len(rows)
    await store.update(IMAGE, filled, record("a"))


async def test_closing_waits_for_the_writes_under_way(open_store: OpenStore, group: str) -> None:
    prefix = f"t{secrets.token_hex(4)}"
    async with open_store(prefix=prefix) as first:
        await first.create(IMAGE, group, capacity=10, space=SPACE)
        additions = [asyncio.create_task(first.add(IMAGE, group, record(f"i{number}"))) for number in range(3)]
        await asyncio.sleep(0.001)
        additions[0].cancel()
    ended = await asyncio.gather(*additions, return_exceptions=True)
    async with open_store(prefix=prefix) as second:
        rows = [row.id for row in await walk(second, group, limit=10)]
    # The first was under way; those that still waited for their turn were refused.
    assert rows == ["i0"]
    assert [type(each) for each in ended] == [asyncio.CancelledError, Closing, Closing]


async def test_a_write_that_waits_for_its_turn_when_its_caller_goes_away_never_begins(
    store: GroupStore, filled: str
) -> None:
    first = asyncio.create_task(store.add(IMAGE, filled, record("a")))
    await asyncio.sleep(0)
    waiting = asyncio.create_task(store.add(IMAGE, filled, record("b")))
    await asyncio.sleep(0)
    waiting.cancel()
    await first
    assert [row.id for row in await walk(store, filled, limit=10)] == ["a"]


async def test_embeddings_that_cannot_be_compared_never_reach_the_engine(store: GroupStore, filled: str) -> None:
    for bad in ([0, 0, 0, 0], [1, float("nan"), 0, 0], [1, float("inf"), 0, 0], [1, 2, 3]):
        embedding = np.array(bad, np.float32)
        with pytest.raises(ValueError, match="embedding"):
            await store.add(IMAGE, filled, Record(Row("a", "t", "{}", None), embedding))
        with pytest.raises(ValueError, match="embedding"):
            await store.search(IMAGE, filled, embedding[np.newaxis], limit=1, bound=1.0)
    assert not await store.contains(IMAGE, filled, "a")
    assert await store.info(IMAGE, filled) == GroupInfo(1000, tags=0, count=0)
