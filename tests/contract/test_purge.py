"""What was deleted is looked for in the very files of each engine, before and after a purge."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from app.embedded.milvus import EmbeddedMilvus
from app.embedded.vacuum import vacuum
from app.store.compaction import Compaction
from app.store.groups import GroupStore
from app.store.measured import MeasuredClient
from app.store.records import EmbeddingSpace, Family, Metric, Record, Row
from tests.contract.conftest import EngineUnderTest
from tests.real_milvus import RealServer

pytestmark = pytest.mark.asyncio(loop_scope="session")

IMAGE = Family.IMAGE
SPACE = EmbeddingSpace("m", 32, Metric.L2)
DICE = np.random.default_rng(17)


def made(prefix: str, number: int) -> list[Record]:
    """Rows whose id, tag, description and embedding are nowhere else."""
    return [
        Record(
            Row(f"{prefix}-id-{n:04d}", f"{prefix}-tag-{n:04d}", f'"{prefix}-desc-{n:04d}"', None),
            DICE.standard_normal(32, dtype=np.float32),
        )
        for n in range(number)
    ]


def traces(records: Iterable[Record], files: Iterable[Path]) -> set[str]:
    """Which of the records' parts are in the files as they are."""
    data = b"\0".join(file.read_bytes() for file in files)
    return {
        part
        for record in records
        for part, text in {
            "id": record.row.id.encode(),
            "tag": record.row.tag.encode(),
            "desc": record.row.desc.strip('"').encode(),
            "embedding": record.embedding.tobytes(),
        }.items()
        if text in data
    }


async def test_what_was_deleted_stays_in_the_file_of_milvus_lite_until_it_is_written_anew(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    kept, deleted, replaced, removed = (made(name, 40) for name in ("kept", "deleted", "replaced", "removed"))

    def files() -> list[Path]:
        return [path for path in data_dir.rglob("*") if path.is_file()]

    async with (
        EmbeddedMilvus(data_dir=data_dir, log_dir=tmp_path / "logs") as milvus,
        GroupStore(uri=milvus.uri, prefix="p", embedded=True, timeout_s=30, pending=data_dir / "pending") as store,
    ):
        for name, records in (("stays", [*kept, *deleted, *replaced]), ("goes", removed)):
            await store.create(IMAGE, name, capacity=9, space=SPACE)
            await store.add_many(IMAGE, name, records)
        await store.delete(IMAGE, "stays", [record.row.id for record in deleted])
        new = [Record(Row(old.row.id, "new", "{}", None), old.embedding + 1) for old in replaced[:2]]
        for record in new:
            await store.update(IMAGE, "stays", record)
        await store.remove(IMAGE, "goes")
    before = files()
    assert traces(deleted, before) == {"id", "tag", "desc", "embedding"}
    assert traces(removed, before) == {"id", "tag", "desc", "embedding"}

    done = vacuum(data_dir)
    assert done.after < done.before
    assert done.free > 0
    assert traces(deleted + removed, files()) == set()
    assert traces(replaced[:2], files()) == {"id"}, "the ids are there under their new rows"
    assert traces(kept, files()) == {"id", "tag", "desc", "embedding"}
    async with (
        EmbeddedMilvus(data_dir=data_dir, log_dir=tmp_path / "logs") as milvus,
        GroupStore(uri=milvus.uri, prefix="p", embedded=True, timeout_s=30, pending=data_dir / "pending") as store,
    ):
        records = [one async for part in store.records(IMAGE, "stays") for one in part]
        wanted = sorted([*kept, *new, *replaced[2:]], key=lambda record: record.row.id)
        assert [(one.row, one.embedding.tobytes()) for one in records] == [
            (one.row, one.embedding.tobytes()) for one in wanted
        ]


async def test_what_was_deleted_on_a_server_is_in_no_file_that_serves_the_group_after_a_purge(
    engine: EngineUnderTest, store: GroupStore, group: str
) -> None:
    if not engine.uri.startswith("http"):
        pytest.skip("Milvus Lite has one file and no segments: see the scenario before this one")
    kept, deleted = made("kept", 300), made("deleted", 200)
    await store.create(IMAGE, group, capacity=9, space=SPACE)
    await store.add_many(IMAGE, group, [*kept, *deleted])
    await store.delete(IMAGE, group, [record.row.id for record in deleted])
    client = MeasuredClient.of(uri=engine.uri, token="", database="", timeout_s=30, metrics=None)
    compaction = Compaction(client, 30)
    waits: list[None] = []
    try:
        found = await store.purge(compaction).group(IMAGE, group, wait=lambda: waits.append(None))
        assert (found.rows, found.before, found.after, found.is_done) == (300, 500, 300, True)
        assert waits, "the deleted rows were in the files until the server was asked"
        again = await store.purge(compaction).group(IMAGE, group)
        assert (again.rows, again.before, again.after) == (300, 300, 300)
        if isinstance(engine, RealServer):
            collection = (await store._access.group(IMAGE, group)).registration.collection
            segments = {str(each.segment_id) for each in await client.list_persistent_segments(collection)}
            logs = [path for path in engine._folder.rglob("*") if path.is_file() and segments & set(path.parts)]
            assert traces(deleted, logs) == set()
            assert "embedding" in traces(kept, logs)
    finally:
        await compaction.close()
    rows = await store.rows(IMAGE, group, tag=None, after=None, limit=1000)
    assert [row.id for row in rows.items] == [record.row.id for record in kept]
    await store.remove(IMAGE, group)
