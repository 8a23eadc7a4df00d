"""Writes whose answer is lost on the way: they may have happened, and are never done twice."""

from __future__ import annotations

import pytest

from app.errors import BackendUnavailable, IdExists
from app.store.engine import Engine
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, GroupInfo, Metric
from app.store.registry import Registration
from app.store.rows import Rows, create_collection
from tests.lossy_line import LossyLine
from tests.rows import record

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_insert_whose_answer_is_lost_is_not_sent_again(uri: str, group: str) -> None:
    space = EmbeddingSpace("m", 4, Metric.L2)
    collection = f"lost_image_{group.replace('-', '_d')}_g0"
    registration = Registration.now(Family.IMAGE, group, capacity=1, space=space, collection=collection)
    async with LossyLine(uri).opened() as line:
        engine = await Engine.connect(uri=line.uri, token="", database="", timeout_s=20)
        await create_collection(engine, registration)
        rows = Rows(engine, registration)
        await rows.insert([record("a")])
        assert await rows.tags_of(["a", "b"]) == {"a": "default"}
        line.lose_next_answer()
        with pytest.raises(BackendUnavailable):
            await rows.insert([record("b")])
        assert line.lost == 1
        assert await rows.tags_of(["a", "b"]) == {"a": "default", "b": "default"}
        assert await engine.count(collection, "") == 2
        await engine.drop(collection)
        await engine.close()


async def test_rows_that_another_program_stored_twice_cut_no_page_short(
    store: GroupStore, uri: str, filled: str
) -> None:
    # A server leaves the second row of an id out after it has cut the answer at the limit.
    names = [f"{number:03d}" for number in range(30)]
    for name in names:
        await store.add(Family.IMAGE, filled, record(name))
    engine = await Engine.connect(uri=uri, token="", database="", timeout_s=20)
    collection = await _collection_of(engine, filled)
    row = {"tag": "default", "desc": "{", "embedding": [1.0, 1.0, 0.0, 0.0]}
    await engine.insert(collection, [{**row, "id": name} for name in names[:10] for _ in range(2)])
    await engine.close()
    store.forget()
    for limit in (5, 20, 29):
        page = await store.rows(Family.IMAGE, filled, tag=None, after=None, limit=limit)
        assert [row.id for row in page.items] == names[:limit]
        assert page.after == names[limit - 1]
    assert (await store.embeddings(Family.IMAGE, filled, after=None, limit=100)).ids == names
    assert await store.info(Family.IMAGE, filled) == GroupInfo(1000, tags=1, count=30)
    assert set(await store.rows_of(Family.IMAGE, filled, names)) == set(names)
    for name in names:
        with pytest.raises(IdExists):
            await store.add(Family.IMAGE, filled, record(name))
    assert await store.delete(Family.IMAGE, filled, names) == names
    assert (await store.info(Family.IMAGE, filled)).count == 0


async def _collection_of(engine: Engine, group: str) -> str:
    named = f"_image_{group.replace('-', '_d')}_g"
    [collection] = [each for each in await engine.collections() if named in each]
    return collection
