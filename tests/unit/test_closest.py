"""The closest pairs are those of a brute-force search in double precision, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from app.services import closest
from app.services.closest import Block, Closest
from app.services.distances import measures
from app.store.records import Metric

Pairs = list[tuple[int, int, float]]


def made(seed: int, number: int, *, dimension: int = 24) -> NDArray[np.float32]:
    """Clouds around a few points, so that near and far neighbours exist, and long vectors beside short ones."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(1).standard_normal((12, dimension))
    lengths = random.choice([1.0, 1.0, 30.0], (number, 1))
    cloud = centres[random.integers(0, 12, number)] + 0.05 * random.standard_normal((number, dimension))
    return np.asarray(cloud * lengths, np.float32)


def found(
    rows: NDArray[np.float32], others: NDArray[np.float32], metric: Metric, *, bound: float, limit: int, size: int
) -> Pairs:
    search = Closest(Block.of([f"r{k}" for k in range(len(rows))], rows, metric), metric, bound=bound, limit=limit)
    for start in range(0, len(others), size):
        part = others[start : start + size]
        search.pass_by(Block.of([f"o{start + k}" for k in range(len(part))], part, metric), skip_same_ids=False)
    return search.pairs()


def expected(
    rows: NDArray[np.float32], others: NDArray[np.float32], metric: Metric, *, bound: float, limit: int
) -> Pairs:
    pairs: Pairs = []
    for row, vector in enumerate(rows):
        sign = 1 if metric is Metric.L2 else -1
        ranked = sorted((sign * measure, other) for other, measure in enumerate(measures(metric, vector, others)))
        pairs += [(row, other, float(sign * order)) for order, other in ranked if order <= sign * bound][:limit]
    return pairs


def assert_same(one: Pairs, other: Pairs) -> None:
    assert [pair[:2] for pair in one] == [pair[:2] for pair in other]
    np.testing.assert_allclose([pair[2] for pair in one], [pair[2] for pair in other], rtol=1e-12, atol=1e-9)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("limit", [1, 3, 40, 1000])
@pytest.mark.parametrize("size", [7, 100, 1000])
def test_pairs_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch, metric: Metric, limit: int, size: int) -> None:
    monkeypatch.setattr(closest, "_ROWS", 16)
    monkeypatch.setattr(closest, "_COLUMNS", 33)
    monkeypatch.setattr(closest, "_PAIRS", 50)
    rows, others = made(2, 60), made(3, 300)
    bounds = [float("inf"), 0.5, 20.0] if metric is Metric.L2 else [-1.0, 0.99, 0.3]
    for bound in bounds:
        expectation = expected(rows, others, metric, bound=bound, limit=limit)
        assert len(expectation) > 30
        assert_same(found(rows, others, metric, bound=bound, limit=limit, size=size), expectation)


@pytest.mark.parametrize("metric", list(Metric))
def test_equal_embeddings_are_at_no_distance_and_tie_in_order(metric: Metric) -> None:
    others = made(4, 20)
    others[5:15] = others[5]
    pairs = found(others[5:6], others, metric, bound=0.0 if metric is Metric.L2 else 1 - 1e-12, limit=4, size=6)
    assert [other for _, other, _ in pairs] == [5, 6, 7, 8]
    assert (
        {measure for _, _, measure in pairs} == {0.0} if metric is Metric.L2 else min(p[2] for p in pairs) > 1 - 1e-12
    )


def test_a_bound_that_no_distance_meets_finds_nothing() -> None:
    rows = made(5, 10)
    assert found(rows, rows, Metric.L2, bound=-1.0, limit=5, size=10) == []


@pytest.mark.parametrize("metric", list(Metric))
def test_a_row_is_not_its_own_other_where_ids_are_skipped(metric: Metric) -> None:
    vectors = made(6, 50)
    ids = [f"i{k}" for k in range(50)]
    whole = Block.of(ids, vectors, metric)
    loosest = float("inf") if metric is Metric.L2 else -1.0
    search = Closest(whole, metric, bound=loosest, limit=1000)
    for start in range(0, 50, 20):
        part = Block.of(ids[start : start + 20], vectors[start : start + 20], metric)
        search.pass_by(part, skip_same_ids=True)
    wanted = [pair for pair in expected(vectors, vectors, metric, bound=loosest, limit=1000) if pair[0] != pair[1]]
    assert_same(search.pairs(), wanted)
    assert len(wanted) == 50 * 49
