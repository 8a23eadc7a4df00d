"""Updates that an engine was killed in the middle of: finished before anybody reads, and never done again later."""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from app.embedded.milvus import EmbeddedMilvus
from app.errors import BackendUnavailable, ImageNotFound
from app.store.engine import Engine
from app.store.groups import GroupStore
from app.store.names import registry_name
from app.store.pending import PendingRows
from app.store.records import EmbeddingSpace, Family, GroupInfo, Metric, Record, Row
from app.store.registry import Registry
from app.store.shape import VECTOR_FIELD
from tests.rows import record, walk

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMAGE = Family.IMAGE
SPACE = EmbeddingSpace("m", 4, Metric.L2)
NEW = {"id": "a", "tag": "new", "desc": '"2', VECTOR_FIELD: np.array([5, 1, 0, 0], np.float32)}

Open = Callable[[], GroupStore]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def engine_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    folder = tmp_path_factory.mktemp("pending")
    async with EmbeddedMilvus(data_dir=folder / "data", log_dir=folder / "logs") as milvus:
        yield milvus.uri


async def cut_off(uri: str, folder: Path, *, deleted: bool) -> tuple[str, str]:
    """Makes a group with one row, and leaves it as an update of the row that was cut off leaves it."""
    prefix = f"t{secrets.token_hex(4)}"
    async with GroupStore(uri=uri, prefix=prefix, embedded=False, timeout_s=30, pending=folder) as store:
        await store.create(IMAGE, "cut", capacity=9, space=SPACE)
        await store.add(IMAGE, "cut", record("a", tag="old", desc="1"))
        await store.update(IMAGE, "cut", record("a", tag="old", desc="1"))
        assert PendingRows(folder, vectors=VECTOR_FIELD).collections() == set()
    engine = await Engine.connect(uri=uri, token="", database="", timeout_s=30)
    [registration] = await Registry(engine, registry_name(prefix)).read()
    PendingRows(folder, vectors=VECTOR_FIELD).hold(registration.collection, NEW)
    if deleted:
        await engine.delete(registration.collection, "id", ["a"])
    await engine.close()
    return prefix, registration.collection


@pytest.mark.parametrize("deleted", [True, False])
async def test_an_update_that_was_cut_off_leaves_the_old_row_or_the_new_one(
    engine_of_its_own: str, tmp_path: Path, deleted: bool
) -> None:
    prefix, _ = await cut_off(engine_of_its_own, tmp_path, deleted=deleted)
    expected = Row("a", "new", '"2"', None) if deleted else Row("a", "old", "1", None)
    for _ in range(2):
        async with GroupStore(
            uri=engine_of_its_own, prefix=prefix, embedded=True, timeout_s=30, pending=tmp_path
        ) as store:
            (hits,), rows = await asyncio.gather(
                store.search(IMAGE, "cut", np.array([[5, 1, 0, 0]], np.float32), limit=9, bound=99.0),
                walk(store, "cut", limit=9),
            )
            assert ([hit.row for hit in hits], rows) == ([expected], [expected])
            assert hits[0].measure == (0.0 if deleted else 4.0)
            assert await store.info(IMAGE, "cut") == GroupInfo(9, tags=1, count=1)
            assert PendingRows(tmp_path, vectors=VECTOR_FIELD).collections() == set()


async def test_a_delete_after_an_update_that_was_cut_off_stays_done(engine_of_its_own: str, tmp_path: Path) -> None:
    prefix, _ = await cut_off(engine_of_its_own, tmp_path, deleted=False)
    for expected in (["a"], []):
        async with GroupStore(
            uri=engine_of_its_own, prefix=prefix, embedded=True, timeout_s=30, pending=tmp_path
        ) as store:
            assert await store.delete(IMAGE, "cut", ["a"]) == expected
            assert await walk(store, "cut", limit=9) == []


async def test_a_removed_group_takes_its_pending_update_along(engine_of_its_own: str, tmp_path: Path) -> None:
    prefix, collection = await cut_off(engine_of_its_own, tmp_path, deleted=True)
    pending = PendingRows(tmp_path, vectors=VECTOR_FIELD)
    assert pending.collections() == {collection}
    async with GroupStore(uri=engine_of_its_own, prefix=prefix, embedded=True, timeout_s=30, pending=tmp_path) as store:
        await store.remove(IMAGE, "cut")
    assert (pending.collections(), pending.row(collection)) == (set(), None)


async def test_kills_among_updates_lose_no_row(tmp_path: Path) -> None:
    # Without the files, about every second of these kills loses one.
    milvus = EmbeddedMilvus(data_dir=tmp_path / "data", log_dir=tmp_path / "logs")
    names = [f"group{number}" for number in range(3)]
    dice = random.Random(5)
    numbers = np.random.default_rng(5)
    stopped = asyncio.Event()

    def row_of(number: int) -> Record:
        return Record(Row(f"i{number}", "t", "{}", None), numbers.standard_normal(128, dtype=np.float32))

    async def update(store: GroupStore, name: str) -> None:
        while not stopped.is_set():
            try:
                await store.update(IMAGE, name, row_of(dice.randrange(60)))
            except BackendUnavailable:
                await asyncio.sleep(0.02)
            except ImageNotFound:
                stopped.set()
                raise

    async with (
        milvus,
        GroupStore(
            uri=milvus.uri, prefix="p", embedded=True, timeout_s=10, pending=tmp_path / "data" / "pending"
        ) as store,
    ):
        for name in names:
            await store.create(IMAGE, name, capacity=9, space=EmbeddingSpace("m", 128, Metric.L2))
            for number in range(60):
                await store.add(IMAGE, name, row_of(number))
        tasks = [asyncio.create_task(update(store, name)) for name in names]
        for _ in range(3):
            await asyncio.sleep(0.3 + dice.random() * 0.2)
            guard = milvus.pid
            assert guard is not None
            [program] = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
            os.kill(int(program), signal.SIGKILL)
            async with asyncio.timeout(60):
                while milvus.pid in (guard, None) or not await answers(store):
                    await asyncio.sleep(0.02)
            store.forget()
        stopped.set()
        await asyncio.gather(*tasks)
        for name in names:
            assert len(await walk(store, name, limit=100)) == 60
            assert (await store.info(IMAGE, name)).count == 60


async def answers(store: GroupStore) -> bool:
    try:
        await store.ping()
    except BackendUnavailable:
        return False
    return True
