"""Whether the tag may be the partition key is tried out, and what the trial says holds for groups made from then on."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import numpy as np
import pytest
import pytest_asyncio

from app.store.engine import Engine
from app.store.groups import GroupStore
from app.store.names import age_of_scratch, scratch_name
from app.store.partition_keys import Decision, PartitionKeys
from app.store.partition_trial import fault_of
from app.store.records import EmbeddingSpace, Family, Metric
from tests.contract.conftest import OpenStore
from tests.rows import record

pytestmark = pytest.mark.asyncio(loop_scope="session")

SPACE = EmbeddingSpace("m", 4, Metric.L2)
TIMEOUT_S = 30.0


@pytest_asyncio.fixture(loop_scope="session")
async def bare(uri: str) -> AsyncIterator[Engine]:
    """A connection whose version is taken to allow partition keys."""
    engine = await Engine.connect(uri=uri, token="", database="", timeout_s=30)
    engine.profile = replace(engine.profile, unpartitioned=None)
    yield engine
    await engine.close()


async def test_the_trial_finds_what_an_engine_does_wrong(bare: Engine) -> None:
    fault = await fault_of(bare, scratch_name("trial"))
    if bare.profile.version is None:
        assert fault == "after an insert the engine refuses a call (the log says which)"
    elif "2.3.5" in bare.profile.version:
        assert fault == "after an upsert that changed a tag 2 rows of the tag t0 are counted where there are 3"
    assert not [each for each in await bare.collections() if age_of_scratch("trial", each) is not None]


async def test_the_trial_finds_no_fault_where_there_is_none(bare: Engine) -> None:
    assert await fault_of(bare, scratch_name("trial"), partitions=None) is None


async def test_a_trial_gone_wrong_turns_partition_keys_off_and_a_crash_of_one_leaves_nothing(bare: Engine) -> None:
    prefix = f"t{secrets.token_hex(4)}"
    left = f"{prefix}_scratch_{int(time.time()) - 119:x}_0123456789"
    await bare.create(left, texts={"id": 8}, dimension=2, metric=Metric.L2)
    keys = PartitionKeys(prefix)
    try:
        partitions = await keys.number(bare, 100_000_000)
        assert (decision := keys.decision) is not None
        assert decision.why.startswith(f"A trial on {bare.profile.name} went ")
        assert (partitions is not None) is decision.on
        if bare.profile.version is None or "2.3.5" in bare.profile.version:
            assert not decision.on
        async with asyncio.timeout(TIMEOUT_S):
            while await bare.has(left):
                await asyncio.sleep(0.1)
    finally:
        await keys.close()


async def test_a_group_made_with_a_partition_key_is_used_as_it_is(open_store: OpenStore, group: str) -> None:
    prefix = f"t{secrets.token_hex(4)}"
    async with open_store(prefix=prefix) as store:
        if (await store._connection.engine()).profile.version is None:
            pytest.skip("Milvus Lite refuses filters on a partition key")
        store._connection.partition_keys._decision = Decision(on=True, why="Once this was so.")
        await store.create(Family.IMAGE, group, capacity=100_000_000, space=SPACE)
        await store.add_many(Family.IMAGE, group, [record(str(n), tag=f"t{n % 3}", at=float(n)) for n in range(9)])
    async with open_store(prefix=prefix) as store:
        assert (await store.info(Family.IMAGE, group)).tags == 3
        await store.add(Family.IMAGE, group, record("9", tag="t0", at=9.0))
        assert await ids(store, group, None) == [str(n) for n in range(10)]
        assert await ids(store, group, "t1") == ["1", "4", "7"]
        query = np.array([[4, 1, 0, 0]], np.float32)
        [hits] = await store.search(Family.IMAGE, group, query, limit=3, bound=4.0, tags=["t0", "t2"])
        assert [hit.row.id for hit in hits] == ["3", "5", "2"]
        assert await store.delete(Family.IMAGE, group, ["0", "3", "no"]) == ["0", "3"]
        assert await ids(store, group, "t0") == ["6", "9"]
        assert (await store.info(Family.IMAGE, group)).count == 8


async def ids(store: GroupStore, group: str, tag: str | None) -> list[str]:
    return [row.id for row in (await store.rows(Family.IMAGE, group, tag=tag, after=None, limit=100)).items]
