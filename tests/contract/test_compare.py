"""Comparing groups gives what searching with each face would give."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import pytest_asyncio

from app.errors import GroupNotFound, ModelMismatch
from app.services.budget import MemoryBudget
from app.services.compare import Compare, ComparedFace
from app.services.rows import Terms, scored
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Metric
from app.vision.calibration import calibration
from tests.made_faces import CALIBRATION, SPACE, SPEC, face_group, face_record, made_spec

pytestmark = pytest.mark.asyncio(loop_scope="session")

FACE = Family.FACE
ROWS = 120
AMPLE = 1 << 20


def compare(store: GroupStore, *, memory: int = AMPLE) -> Compare:
    return Compare(store, made_spec, ThreadPoolExecutor(1), MemoryBudget(memory))


async def collected(comparison: Compare, base: str, target: str, terms: Terms) -> list[ComparedFace]:
    return [face async for faces in comparison.compare(base, target, terms) for face in faces]


def shown(faces: list[ComparedFace]) -> list[tuple[str, list[str]]]:
    return [(face.row.id, [hit.row.id for hit in face.hits]) for face in faces]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pair(store: GroupStore) -> AsyncIterator[tuple[str, str]]:
    """Two groups of faces that are partly alike, some the same to the last bit."""
    random = np.random.default_rng(8)
    vectors = random.standard_normal((2, ROWS, 4)).astype(np.float32)
    vectors[1, :40] = vectors[0, 20:60]
    vectors[1, 40:60] = vectors[0, :20] + np.float32(0.03)
    vectors[0, 70:80] = vectors[0, 70]
    names = ("compare-base", "compare-target")
    for name, faces in zip(names, vectors, strict=True):
        await store.create(FACE, name, capacity=ROWS, space=SPACE)
        ids = [f"{name[8]}/{(number * 37) % ROWS:03d}" for number in range(ROWS)]
        for start in range(0, ROWS, 40):
            part = range(start, start + 40)
            await asyncio.gather(*(store.add(FACE, name, face_record(ids[k], faces[k])) for k in part))
    yield names
    for name in names:
        await store.remove(FACE, name)


@pytest.mark.parametrize(
    ("threshold", "limit"), [(0.45, 100), (0.45, 1), (0.9, 3), (0.0, 7), (0.0, 10_000), (0.997, 5)]
)
@pytest.mark.parametrize("memory", [AMPLE, 1])
async def test_each_face_has_the_hits_of_its_search(
    store: GroupStore, pair: tuple[str, str], threshold: float, limit: int, memory: int
) -> None:
    base, target = pair
    scale = calibration(CALIBRATION)
    walk = await store.embeddings(FACE, target, after=None, limit=1000)
    searched = await store.search(FACE, base, walk.vectors, limit=limit, bound=scale.bound(threshold))
    wanted = {
        name: hits for name, found in zip(walk.ids, searched, strict=True) if (hits := scored(found, scale, threshold))
    }
    faces = await collected(compare(store, memory=memory), base, target, Terms(threshold, limit))
    assert [face.row.id for face in faces] == sorted(wanted)
    assert len(faces) > 30
    for face in faces:
        hits = wanted[face.row.id]
        assert [hit.row for hit in face.hits] == [hit.row for hit in hits]
        assert [hit.score for hit in face.hits] == pytest.approx([hit.score for hit in hits], abs=1e-5)
        assert face.row == await store.row(FACE, target, face.row.id)


async def test_a_group_is_compared_with_itself_and_a_face_is_not_its_own_hit(store: GroupStore, group: str) -> None:
    await face_group(store, group, ada=[1, 0, 0, 0], ada2=[1, 0.25, 0, 0], bob=[0, 1, 0, 0], twin=[1, 0, 0, 0])
    faces = await collected(compare(store), group, group, Terms(0.45, 10))
    assert shown(faces) == [("ada", ["twin", "ada2"]), ("ada2", ["ada", "twin"]), ("twin", ["ada", "ada2"])]
    assert shown(await collected(compare(store), group, group, Terms(0.45, 1))) == [
        ("ada", ["twin"]),
        ("ada2", ["ada"]),
        ("twin", ["ada"]),
    ]


async def test_an_empty_group_has_nothing_to_compare(store: GroupStore, group: str) -> None:
    await face_group(store, f"{group}-a")
    await face_group(store, f"{group}-b", ada=[1, 0, 0, 0])
    for base, target in ((f"{group}-a", f"{group}-b"), (f"{group}-b", f"{group}-a")):
        assert await collected(compare(store), base, target, Terms(0.0, 10)) == []


async def test_a_group_that_is_missing_or_of_another_model_is_told_before_anything_else(
    store: GroupStore, group: str
) -> None:
    good = await face_group(store, f"{group}-a", ada=[1, 0, 0, 0])
    await store.create(FACE, f"{group}-b", capacity=5, space=EmbeddingSpace("old", 4, Metric.L2))
    for other, error in ((f"{group}-x", GroupNotFound), (f"{group}-b", ModelMismatch)):
        for base, target in ((good, other), (other, good)):
            with pytest.raises(error, match=other):
                await anext(compare(store).compare(base, target, Terms(0.45, 10)))


async def test_embeddings_are_walked_through_in_the_order_of_a_listing(store: GroupStore, group: str) -> None:
    faces = {f"{number:02d}": [1.0, number / 3, 0, 0] for number in range(7)}
    await face_group(store, group)
    for name, at in faces.items():
        await store.add(FACE, group, face_record(name, at, tag=f"{name}'s \n\""))
    for limit in (1, 3, 7, 8):
        ids: list[str] = []
        tags: list[str] = []
        vectors = []
        after: str | None = None
        while True:
            page = await store.embeddings(FACE, group, after=after, limit=limit)
            assert len(page.ids) == len(page.vectors) <= limit
            ids += page.ids
            tags += page.tags
            vectors += list(page.vectors)
            after = page.after
            if after is None:
                break
        assert ids == list(faces)
        assert tags == [f"{name}'s \n\"" for name in faces]
        assert np.array_equal(vectors, np.array(list(faces.values()), np.float32))


async def test_signs_of_life_come_while_a_large_group_is_read(
    store: GroupStore, group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.services.compare._BASE_ROWS", 1)
    monkeypatch.setattr("app.services.compare._BLOCKS_PER_SIGN", 2)
    await face_group(store, group, a=[1, 0, 0, 0], b=[1, 0, 0, 0], c=[9, 0, 0, 0], d=[0, 9, 0, 0], e=[0, 0, 9, 0])
    portions = [shown(faces) async for faces in compare(store).compare(group, group, Terms(0.45, 10))]
    assert portions == [[], [], [("a", ["b"]), ("b", ["a"])]]


async def test_memory_is_given_back_when_the_caller_leaves(store: GroupStore, group: str) -> None:
    await face_group(store, group, ada=[1, 0, 0, 0], twin=[1, 0, 0, 0])
    memory = MemoryBudget(AMPLE)
    comparison = Compare(store, made_spec, ThreadPoolExecutor(1), memory)
    walk = comparison.compare(group, group, Terms(0.45, 10))
    assert shown(await anext(walk)) == [("ada", ["twin"]), ("twin", ["ada"])]
    assert memory.free == AMPLE - 2 * (4 * SPEC.dimension + 256)
    await walk.aclose()
    assert memory.free == AMPLE
