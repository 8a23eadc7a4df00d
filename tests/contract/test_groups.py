"""Groups: their life, what they remember, and what survives a restart of the engine."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from pymilvus import AsyncMilvusClient

from app.errors import BackendUnavailable, Closing, GroupExists, GroupNotFound, ModelMismatch
from app.store.groups import GroupStore
from app.store.records import (
    BoundingBox,
    EmbeddingSpace,
    Family,
    GroupInfo,
    Metric,
    Record,
    Row,
    TagCount,
)

Change = Callable[[], Awaitable[None]]
OpenStore = Callable[..., GroupStore]

pytestmark = pytest.mark.asyncio(loop_scope="session")

SPACE = EmbeddingSpace("dlib-resnet-v1", 8, Metric.L2)
BOX = BoundingBox(((10, 20), (110, 20), (110, 120), (10, 120)), 0.987654321)


def record(name: str, *, tag: str = "default", desc: str = "{}", box: BoundingBox | None = None) -> Record:
    embedding = np.random.default_rng(len(name)).standard_normal(8, dtype=np.float32)
    return Record(Row(name, tag, desc, box), embedding)


async def test_a_group_is_made_described_listed_and_removed(store: GroupStore, group: str) -> None:
    await store.create(Family.FACE, group, capacity=300_000, space=SPACE)
    assert await store.info(Family.FACE, group) == GroupInfo(capacity=300_000, tags=0, count=0)
    assert group in await store.names(Family.FACE)
    assert group not in await store.names(Family.IMAGE)
    await store.remove(Family.FACE, group)
    assert group not in await store.names(Family.FACE)


async def test_names_are_sorted_and_both_families_may_use_one(store: GroupStore, group: str) -> None:
    await asyncio.gather(
        *(store.create(family, f"{group}{end}", capacity=1, space=SPACE) for family in Family for end in ("b", "a"))
    )
    for family in Family:
        mine = [name for name in await store.names(family) if name.startswith(group)]
        assert mine == [f"{group}a", f"{group}b"]


async def test_a_name_that_is_taken_is_refused_also_while_it_is_being_made(store: GroupStore, group: str) -> None:
    made = await asyncio.gather(
        *(store.create(Family.IMAGE, group, capacity=1, space=SPACE) for _ in range(3)), return_exceptions=True
    )
    assert [type(each) for each in made].count(GroupExists) == 2
    with pytest.raises(GroupExists, match=group):
        await store.create(Family.IMAGE, group, capacity=1, space=SPACE)


async def test_a_removed_groups_name_can_be_used_again_at_once_and_is_empty(store: GroupStore, group: str) -> None:
    await store.create(Family.IMAGE, group, capacity=1, space=SPACE)
    await store.add(Family.IMAGE, group, record("old"))
    await store.remove(Family.IMAGE, group)
    other = EmbeddingSpace("another", 4, Metric.COSINE)
    await store.create(Family.IMAGE, group, capacity=7, space=other)
    assert await store.info(Family.IMAGE, group) == GroupInfo(capacity=7, tags=0, count=0)
    assert not await store.contains(Family.IMAGE, group, "old")
    await store.check(Family.IMAGE, group, other)


async def test_every_call_on_a_missing_group_says_so(store: GroupStore, group: str) -> None:
    of = (Family.FACE, group)
    for call in (
        store.info(*of),
        store.remove(*of),
        store.check(*of, SPACE),
        store.contains(*of, "a"),
        store.add(*of, record("a")),
        store.update(*of, record("a")),
        store.delete(*of, ["a"]),
        store.rows(*of, tag=None, after=None, limit=1),
        store.tags(*of, after=None, limit=1),
        store.search(*of, np.ones((1, 8), np.float32), limit=1, bound=1.0),
    ):
        with pytest.raises(GroupNotFound, match=group):
            await call


async def test_those_who_wait_for_a_group_that_is_removed_are_told(store: GroupStore, group: str) -> None:
    await store.create(Family.IMAGE, group, capacity=1, space=SPACE)
    removal = asyncio.create_task(store.remove(Family.IMAGE, group))
    await asyncio.sleep(0)
    late = await asyncio.gather(
        store.add(Family.IMAGE, group, record("a")),
        store.rows(Family.IMAGE, group, tag=None, after=None, limit=1),
        return_exceptions=True,
    )
    await removal
    assert [type(each) for each in late] == [GroupNotFound, GroupNotFound]


async def test_another_model_is_refused_with_a_sentence_that_names_both(store: GroupStore, group: str) -> None:
    await store.create(Family.FACE, group, capacity=1, space=SPACE)
    await store.check(Family.FACE, group, SPACE)
    served = EmbeddingSpace("arcface-r50", 512, Metric.COSINE)
    with pytest.raises(ModelMismatch, match=r"dlib-resnet-v1 \(8 dimensions, L2\).*arcface-r50 \(512 dimensions"):
        await store.check(Family.FACE, group, served)


async def test_everything_is_there_after_a_crash_of_the_engine_and_a_new_start_of_the_service(
    kill: Change, start: Change, open_store: OpenStore, group: str
) -> None:
    prefix = f"t{secrets.token_hex(4)}"
    async with open_store(prefix=prefix) as before:
        await before.create(Family.FACE, group, capacity=42, space=SPACE)
        for name in ("a", "b", "c"):
            await before.add(Family.FACE, group, record(name, tag=f"t{name}", desc='{"n":1}', box=BOX))
        await before.update(Family.FACE, group, record("b", tag="new", box=BoundingBox(BOX.pts, None)))
        await before.delete(Family.FACE, group, ["c"])
        expected = await before.rows(Family.FACE, group, tag=None, after=None, limit=10)
    await kill()
    await start()
    async with open_store(prefix=prefix, embedded=True) as after:
        assert await after.names(Family.FACE) == [group]
        await after.check(Family.FACE, group, SPACE)
        assert await after.rows(Family.FACE, group, tag=None, after=None, limit=10) == expected
        assert [row.id for row in expected.items] == ["a", "b"]
        assert expected.items[0].bounding_box == BOX
        assert expected.items[1].bounding_box == BoundingBox(BOX.pts, None)
        assert (await after.tags(Family.FACE, group, after=None, limit=9)).items == [
            TagCount("new", 1),
            TagCount("ta", 1),
        ]
        assert await after.info(Family.FACE, group) == GroupInfo(capacity=42, tags=2, count=2)


async def test_the_store_says_that_milvus_is_down_and_recovers_by_itself(
    kill: Change, start: Change, open_store: OpenStore, group: str
) -> None:
    async with open_store(timeout_s=5.0) as store:
        await store.create(Family.IMAGE, group, capacity=1, space=SPACE)
        await store.add(Family.IMAGE, group, record("a"))
        assert (await store.info(Family.IMAGE, group)).count == 1
        await kill()
        with pytest.raises(BackendUnavailable, match="does not answer"):
            await store.contains(Family.IMAGE, group, "a")
        with pytest.raises(BackendUnavailable):
            await store.ping()
        await start()
        store.forget()
        async with asyncio.timeout(60):
            while True:
                try:
                    await store.add(Family.IMAGE, group, record("b", tag="two"))
                    break
                except BackendUnavailable:
                    await asyncio.sleep(0.1)
        await store.ping()
        assert await store.info(Family.IMAGE, group) == GroupInfo(capacity=1, tags=2, count=2)


async def test_a_store_opens_without_milvus_and_answers_once_it_is_there(
    kill: Change, start: Change, open_store: OpenStore, group: str
) -> None:
    await kill()
    async with open_store(timeout_s=5.0) as store:
        failed = await asyncio.gather(*(store.names(Family.IMAGE) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in failed] == [BackendUnavailable] * 3
        await start()
        async with asyncio.timeout(60):
            while True:
                try:
                    await store.create(Family.IMAGE, group, capacity=1, space=SPACE)
                    break
                except BackendUnavailable:
                    await asyncio.sleep(0.1)
        assert await store.names(Family.IMAGE) == [group]


@pytest.mark.parametrize("embedded", [True, False])
async def test_collections_without_a_group_are_dropped_only_where_no_one_else_can_own_them(
    uri: str, open_store: OpenStore, group: str, embedded: bool
) -> None:
    prefix = f"t{secrets.token_hex(4)}"
    async with open_store(prefix=prefix) as store:
        await store.create(Family.IMAGE, group, capacity=1, space=SPACE)
    client = AsyncMilvusClient(uri=uri, timeout=10, dedicated=True)
    orphan = f"{prefix}_face_lost_g0123456789"
    await client.create_collection(orphan, dimension=2, timeout=30)
    async with open_store(prefix=prefix, embedded=embedded) as store:
        assert await store.names(Family.IMAGE) == [group]
        assert (await store.info(Family.IMAGE, group)).count == 0
        assert await client.has_collection(orphan, timeout=10) is not embedded
    await client.close()


async def test_a_closed_store_refuses_calls(open_store: OpenStore, group: str) -> None:
    async with open_store() as store:
        await store.create(Family.IMAGE, group, capacity=1, space=SPACE)
    with pytest.raises(Closing):
        await store.info(Family.IMAGE, group)
