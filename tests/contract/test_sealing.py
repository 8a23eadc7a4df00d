"""A server is asked to seal what was written, so that searches find it as surely as older rows."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest
from pymilvus import AsyncMilvusClient

from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Metric, Record
from app.store.shape import VECTOR_FIELD
from tests.contract.conftest import OpenStore
from tests.rows import record

pytestmark = pytest.mark.asyncio(loop_scope="session")

TIMEOUT_S = 90.0


async def test_rows_that_a_process_left_unsealed_are_sealed_once_another_searches(
    open_store: OpenStore, uri: str, group: str
) -> None:
    async with open_store(prefix="leftrows") as store:
        engine = await store._connection.engine()
        if engine.profile.unsealed_rows is None:
            pytest.skip(f"{engine.profile.engine} searches all rows exactly")
        await store.create(Family.IMAGE, group, capacity=100, space=EmbeddingSpace("m", 4, Metric.L2))
        collection = (await store._access.group(Family.IMAGE, group)).registration.collection
        await fill(store, group, 50)  # far from what is sealed by itself
    client = AsyncMilvusClient(uri=uri, timeout=10, dedicated=True)
    try:
        async with open_store(prefix="leftrows") as store:
            engine = await store._connection.engine()
            engine.profile = replace(engine.profile, unsealed_rows=40)
            assert await sealed(client, collection) == 0
            await store.search(Family.IMAGE, group, np.array([[7, 1, 0, 0]], np.float32), limit=1, bound=1.0)
            deadline = time.monotonic() + TIMEOUT_S
            while await sealed(client, collection) < 50:
                assert time.monotonic() < deadline, "the rows were never sealed"
                await asyncio.sleep(0.5)
            await store.remove(Family.IMAGE, group)
    finally:
        await client.close()


async def test_rows_are_sealed_and_indexed_without_being_asked_for(open_store: OpenStore, uri: str, group: str) -> None:
    async with open_store(prefix="sealed") as store:
        engine = await store._connection.engine()
        if engine.profile.unsealed_rows is None:
            pytest.skip(f"{engine.profile.engine} searches all rows exactly")
        engine.profile = replace(engine.profile, unsealed_rows=40)
        await store.create(Family.IMAGE, group, capacity=100, space=EmbeddingSpace("m", 4, Metric.L2))
        collection = (await store._access.group(Family.IMAGE, group)).registration.collection
        client = AsyncMilvusClient(uri=uri, timeout=10, dedicated=True)
        try:
            await fill(store, group, 39)
            assert await sealed(client, collection) == 0
            await fill(store, group, 2, first=39)
            deadline = time.monotonic() + TIMEOUT_S
            while await sealed(client, collection) < 41:
                assert time.monotonic() < deadline, "the rows were never sealed"
                await asyncio.sleep(0.5)
            [hits] = await store.search(Family.IMAGE, group, np.array([[7, 1, 0, 0]], np.float32), limit=1, bound=1.0)
            assert [hit.row.id for hit in hits] == ["7"]
            assert (await store.info(Family.IMAGE, group)).count == 41
            await fill(store, group, 41, first=41)  # asks again, and is removed and closed meanwhile
            await store.remove(Family.IMAGE, group)
        finally:
            await client.close()


async def fill(store: GroupStore, group: str, rows: int, *, first: int = 0) -> None:
    new: list[Record] = [record(str(number), at=float(number)) for number in range(first, first + rows)]
    near = np.array([[0, 1, 0, 0]], np.float32)
    await store.search_then_add(Family.IMAGE, group, near, lambda _: new, limit=1, bound=0.1)


async def sealed(client: AsyncMilvusClient, collection: str) -> int:
    """How many rows the server counts as sealed."""
    state = await client.describe_index(collection, VECTOR_FIELD)
    return int(state["total_rows"])
