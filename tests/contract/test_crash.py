"""A kill -9 of Milvus Lite under concurrent writers loses nothing that was acknowledged."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest

from app.embedded.milvus import EmbeddedMilvus
from app.errors import BackendUnavailable, Closing, IdExists
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Metric, Record, Row

pytestmark = pytest.mark.asyncio(loop_scope="session")

SPACE = EmbeddingSpace("m", 32, Metric.L2)


async def test_every_acknowledged_add_survives_a_kill_in_the_middle_of_many(tmp_path: Path) -> None:
    acknowledged: set[str] = set()
    tried: set[str] = set()

    async def write(store: GroupStore, worker: int) -> None:
        dice = np.random.default_rng(worker)
        number = 0
        while len(acknowledged) < 600:
            name = f"w{worker}-{number}"
            tried.add(name)
            embedding = dice.standard_normal(32, dtype=np.float32)
            try:
                await store.add(Family.FACE, groups[worker % 2], Record(Row(name, f"t{worker}", "{}", None), embedding))
            except BackendUnavailable:
                await asyncio.sleep(0.05)
            except IdExists:  # the add before this one happened, though its answer was lost
                number += 1
            else:
                acknowledged.add(name)
                number += 1

    groups = ["first", "second"]
    async with (
        EmbeddedMilvus(data_dir=tmp_path / "data", log_dir=tmp_path / "logs") as milvus,
        GroupStore(uri=milvus.uri, prefix="p", embedded=True, timeout_s=10) as store,
    ):
        for name in groups:
            await store.create(Family.FACE, name, capacity=1000, space=SPACE)
        writers = [asyncio.create_task(write(store, worker)) for worker in range(8)]
        while len(acknowledged) < 300:
            await asyncio.sleep(0.005)
        assert milvus.pid is not None
        os.kill(milvus.pid, signal.SIGKILL)
        async with asyncio.timeout(60):
            await asyncio.gather(*writers)
        counted = sum([(await store.info(Family.FACE, name)).count for name in groups])
    async with (
        EmbeddedMilvus(data_dir=tmp_path / "data", log_dir=tmp_path / "logs") as milvus,
        GroupStore(uri=milvus.uri, prefix="p", embedded=True, timeout_s=10) as store,
    ):
        pages = [await store.rows(Family.FACE, name, tag=None, after=None, limit=5000) for name in groups]
        stored = [row.id for page in pages for row in page.items]
        assert len(stored) == len(set(stored)) == counted
        assert acknowledged <= set(stored) <= tried
        assert sum([(await store.info(Family.FACE, name)).count for name in groups]) == counted


async def test_what_was_being_filled_when_the_process_ended_is_gone_with_the_next_start(tmp_path: Path) -> None:
    async def collections(store: GroupStore) -> list[str]:
        return await (await store._connection.engine()).collections()

    embedding = np.ones(32, np.float32)
    async with EmbeddedMilvus(data_dir=tmp_path / "data", log_dir=tmp_path / "logs") as milvus:
        async with GroupStore(uri=milvus.uri, prefix="p", embedded=True, timeout_s=10) as store:
            await store.create(Family.FACE, "kept", capacity=7, space=SPACE)
            filling = store.filling(Family.FACE, "filling", capacity=7, space=SPACE)
            new = await filling.__aenter__()  # and never left
            await new.add([Record(Row("a", "t", "{}", None), embedding)])
            assert len(await collections(store)) == 3
        with pytest.raises(Closing):
            await new.add([Record(Row("b", "t", "{}", None), embedding)])
        async with GroupStore(uri=milvus.uri, prefix="p", embedded=True, timeout_s=10) as store:
            assert await store.names(Family.FACE) == ["kept"]
            assert len(await collections(store)) == 2
