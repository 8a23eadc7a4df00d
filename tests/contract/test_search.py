"""Search against the same thing computed with NumPy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Hit, Metric, Record, Row

pytestmark = pytest.mark.asyncio(loop_scope="session")

DIMENSION = 16
ROWS = 300


@dataclass(frozen=True)
class Library:
    """A filled group and what is in it: row k has the id ``ids[k]`` and the embedding ``vectors[k]``."""

    group: str
    metric: Metric
    ids: list[str]
    vectors: NDArray[np.float32]

    def expected(self, query: NDArray[np.float32], *, limit: int, bound: float) -> list[tuple[str, float]]:
        vectors, wide = self.vectors.astype(np.float64), query.astype(np.float64)
        if self.metric is Metric.L2:
            measures = np.sqrt(((vectors - wide) ** 2).sum(axis=1))
            ordered = sorted(zip(measures.tolist(), self.ids, strict=True))
            return [(name, measure) for measure, name in ordered if measure <= bound][:limit]
        measures = vectors @ wide / np.linalg.norm(vectors, axis=1) / np.linalg.norm(wide)
        ordered = sorted(zip((-measures).tolist(), self.ids, strict=True))
        return [(name, -measure) for measure, name in ordered if -measure >= bound][:limit]


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=list(Metric))
async def library(request: pytest.FixtureRequest, store: GroupStore) -> AsyncIterator[Library]:
    metric: Metric = request.param
    name = f"search-{metric.lower()}"
    await store.create(Family.IMAGE, name, capacity=ROWS, space=EmbeddingSpace("m", DIMENSION, metric))
    vectors = np.random.default_rng(3).standard_normal((ROWS, DIMENSION)).astype(np.float32)
    vectors[100:140] = vectors[99]  # 41 rows that tie
    ids = [f"id{(number * 7919) % ROWS:04d}" for number in range(ROWS)]
    for start in range(0, ROWS, 50):
        await asyncio.gather(
            *(
                store.add(Family.IMAGE, name, Record(Row(ids[k], f"t{k % 5}", f'{{"k":{k}}}', None), vectors[k]))
                for k in range(start, start + 50)
            )
        )
    yield Library(name, metric, ids, vectors)
    await store.remove(Family.IMAGE, name)


def loosest(metric: Metric) -> float:
    return float("inf") if metric is Metric.L2 else -1.0


def assert_same(hits: list[Hit], expected: list[tuple[str, float]]) -> None:
    assert [hit.row.id for hit in hits] == [name for name, _ in expected]
    np.testing.assert_allclose([hit.measure for hit in hits], [measure for _, measure in expected], atol=2e-3)


async def test_hits_are_those_of_a_brute_force_search(store: GroupStore, library: Library) -> None:
    queries = np.random.default_rng(5).standard_normal((6, DIMENSION)).astype(np.float32)
    for limit in (1, 5, 100):
        found = await store.search(Family.IMAGE, library.group, queries, limit=limit, bound=loosest(library.metric))
        assert len(found) == len(queries)
        for query, hits in zip(queries, found, strict=True):
            assert_same(hits, library.expected(query, limit=limit, bound=loosest(library.metric)))


async def test_a_limit_beyond_the_group_gives_all_of_it_with_full_rows(store: GroupStore, library: Library) -> None:
    query = library.vectors[[7]]
    (hits,) = await store.search(Family.IMAGE, library.group, query, limit=10_000, bound=loosest(library.metric))
    assert_same(hits, library.expected(query[0], limit=10_000, bound=loosest(library.metric)))
    numbers = {name: number for number, name in enumerate(library.ids)}
    assert all(hit.row.desc == f'{{"k":{numbers[hit.row.id]}}}' for hit in hits)
    assert all(hit.row.tag == f"t{numbers[hit.row.id] % 5}" for hit in hits)


async def test_only_hits_within_the_bound_are_given(store: GroupStore, library: Library) -> None:
    query = np.random.default_rng(9).standard_normal((1, DIMENSION)).astype(np.float32)
    all_measures = [m for _, m in library.expected(query[0], limit=ROWS, bound=loosest(library.metric))]
    gaps = [rank for rank in range(ROWS - 1) if abs(all_measures[rank + 1] - all_measures[rank]) > 1e-3]
    for rank in (gaps[0], gaps[3], gaps[50], gaps[-1]):
        bound = (all_measures[rank] + all_measures[rank + 1]) / 2
        for limit in (10, 1000):
            (hits,) = await store.search(Family.IMAGE, library.group, query, limit=limit, bound=bound)
            assert_same(hits, library.expected(query[0], limit=limit, bound=bound))
    nothing = 1e-3 if library.metric is Metric.L2 else 0.9999
    assert await store.search(Family.IMAGE, library.group, query, limit=5, bound=nothing) == [[]]


async def test_ties_are_ordered_by_id_also_where_the_limit_cuts_through_them(
    store: GroupStore, library: Library
) -> None:
    query = library.vectors[[120]]
    tied = sorted(library.ids[99:140])
    for limit in (1, 3, 40, 41, 42):
        (hits,) = await store.search(Family.IMAGE, library.group, query, limit=limit, bound=loosest(library.metric))
        assert [hit.row.id for hit in hits][: len(tied)] == tied[:limit]
        assert len(hits) == limit


async def test_many_queries_are_answered_together_and_in_order(store: GroupStore, library: Library) -> None:
    picked = [number for number in range(0, ROWS, 2) if not 99 <= number < 140]
    found = await store.search(
        Family.IMAGE, library.group, library.vectors[picked], limit=20, bound=loosest(library.metric)
    )
    assert [hits[0].row.id for hits in found] == [library.ids[number] for number in picked]
    assert all(len(hits) == 20 for hits in found)


@pytest.mark.parametrize("tags", [("t3",), ("t0", "t4", "none"), ("none",), ('"] or id != "', "t1")])
async def test_a_search_inside_tags_is_a_brute_force_search_of_their_rows(
    store: GroupStore, library: Library, tags: tuple[str, ...]
) -> None:
    kept = [number for number in range(ROWS) if f"t{number % 5}" in tags]
    part = Library(library.group, library.metric, [library.ids[number] for number in kept], library.vectors[kept])
    queries = np.random.default_rng(6).standard_normal((3, DIMENSION)).astype(np.float32)
    for limit in (1, 40, 1000):
        found = await store.search(
            Family.IMAGE, library.group, queries, limit=limit, bound=loosest(library.metric), tags=tags
        )
        for query, hits in zip(queries, found, strict=True):
            assert_same(hits, part.expected(query, limit=limit, bound=loosest(library.metric)))
            assert {hit.row.tag for hit in hits} <= set(tags)


async def test_no_query_gives_no_answer(store: GroupStore, library: Library) -> None:
    empty = np.empty((0, DIMENSION), np.float32)
    assert await store.search(Family.IMAGE, library.group, empty, limit=5, bound=1.0) == []


@pytest.mark.parametrize("metric", list(Metric))
async def test_the_bound_is_inclusive(store: GroupStore, group: str, metric: Metric) -> None:
    await store.create(Family.IMAGE, group, capacity=4, space=EmbeddingSpace("m", 4, metric))
    corners = {"near": [1.5, 0, 0, 0], "far": [1, 0.5, 0, 0], "opposite": [-1, 0, 0, 0], "across": [0, 1, 0, 0]}
    for name, at in corners.items():
        await store.add(Family.IMAGE, group, Record(Row(name, "t", "1", None), np.array(at, np.float32)))
    query = np.array([[1, 0, 0, 0]], np.float32)
    # Numbers that floating point holds exactly: distances 0.5, 0.5 and 2, cosines 1, 0 and -1.
    cases = (
        [(0.5, {"near", "far"}), (0.499999, set()), (2.0, set(corners)), (1.999999, {"near", "far", "across"})]
        if metric is Metric.L2
        else [(1.0, {"near"}), (0.0, {"near", "far", "across"}), (1e-6, {"near", "far"}), (-1.0, set(corners))]
    )
    for bound, names in cases:
        (hits,) = await store.search(Family.IMAGE, group, query, limit=10, bound=bound)
        assert {hit.row.id for hit in hits} == names, bound
    await store.remove(Family.IMAGE, group)


async def test_an_empty_group_has_no_hits(store: GroupStore, group: str) -> None:
    await store.create(Family.FACE, group, capacity=4, space=EmbeddingSpace("m", 4, Metric.L2))
    assert await store.search(Family.FACE, group, np.ones((2, 4), np.float32), limit=5, bound=9.0) == [[], []]
