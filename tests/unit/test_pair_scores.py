"""Pairs are counted as comparing each with each would count them, whatever the blocks."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.services import pair_scores
from app.services.distances import measures
from app.services.pair_scores import PairScores, ScoreCounts
from app.store.records import Metric
from app.vision.calibration import Calibration, PowerOfCosine, SigmoidOfDistance
from tests.made_reports import counts_of

SCALES: dict[Metric, Calibration] = {
    Metric.L2: SigmoidOfDistance(slope=14, midpoint=0.55, offset=-0.2007),
    Metric.COSINE: PowerOfCosine(floor=0, exponent=1.6),
}


def scores_of(counts: ScoreCounts) -> list[float]:
    """Every score, as often as it was counted, lowest first."""
    steps = np.repeat(np.arange(1_000_001), counts._counts)
    return [int(step) / 1_000_000 for step in steps]


def brute_force(
    vectors: NDArray[np.float32], identities: NDArray[np.int32], metric: Metric
) -> tuple[list[float], list[float]]:
    same: list[float] = []
    different: list[float] = []
    for one, other in combinations(range(len(vectors)), 2):
        (measure,) = measures(metric, vectors[one], vectors[other : other + 1])
        (same if identities[one] == identities[other] else different).append(SCALES[metric].score(float(measure)))
    return sorted(same), sorted(different)


@pytest.mark.parametrize("metric", list(Metric))
@pytest.mark.parametrize("rows", [7, 20, 1024])
def test_the_scores_are_those_of_brute_force(monkeypatch: pytest.MonkeyPatch, metric: Metric, rows: int) -> None:
    monkeypatch.setattr(pair_scores, "_ROWS", rows)
    random = np.random.default_rng(2)
    identities = random.integers(0, 9, 60).astype(np.int32)
    centres = random.standard_normal((9, 24)) / 5
    vectors = (centres[identities] + 0.08 * random.standard_normal((60, 24))).astype(np.float32)
    scores = PairScores(vectors, identities, metric, SCALES[metric])
    for block in range(scores.blocks):
        scores.count(block)
    same, different = brute_force(vectors, identities, metric)
    assert scores_of(scores.same()) == pytest.approx(same, abs=1e-12)
    assert scores_of(scores.different()) == pytest.approx(different, abs=1e-12)
    assert len(same) + len(different) == 60 * 59 // 2


scores_in_steps = st.lists(
    st.one_of(st.integers(0, 1_000_000), st.sampled_from([0, 1, 449_999, 450_000, 450_001, 999_999, 1_000_000])),
    min_size=1,
    max_size=40,
).map(lambda steps: [step / 1_000_000 for step in steps])


@given(scores_in_steps, st.one_of(st.floats(0, 1), st.sampled_from([0.0, 0.45, 1.0, 0.3, 0.1 + 0.2])))
def test_a_pair_counts_at_its_own_score_and_below_as_in_a_search(scores: list[float], threshold: float) -> None:
    counts = counts_of(scores)
    assert counts.pairs == len(scores)
    assert counts.at_or_over(threshold) == sum(score >= threshold for score in scores)
    for score in scores:
        assert counts.at_or_over(score) == sum(other >= score for other in scores)


@given(scores_in_steps, st.floats(0, 1))
def test_the_lowest_threshold_for_a_share_is_the_lowest(scores: list[float], share: float) -> None:
    counts = counts_of(scores)
    found = counts.lowest_threshold(share)
    if found is None:
        assert sum(score >= 1 for score in scores) / len(scores) > share
        return
    assert sum(score >= found for score in scores) / len(scores) <= share
    if found > 0:
        lower = round(found * 1_000_000 - 1) / 1_000_000
        assert sum(score >= lower for score in scores) / len(scores) > share


@given(scores_in_steps, st.integers(0, 100))
def test_mean_and_percentiles_are_those_of_the_scores(scores: list[float], percent: int) -> None:
    counts = counts_of(scores)
    assert counts.mean() == pytest.approx(np.mean(scores), abs=1e-9)
    assert counts.percentile(percent) in scores
    assert sum(score <= counts.percentile(percent) for score in scores) * 100 >= percent * len(scores)
    lower = [score for score in scores if score < counts.percentile(percent)]
    assert not lower or len(lower) * 100 < percent * len(scores)


def test_the_bins_of_a_histogram_hold_their_lower_edge() -> None:
    counts = counts_of([0, 0.024999, 0.025, 0.45, 0.974999, 0.975, 1])
    histogram = counts.histogram(40)
    assert len(histogram) == 40
    assert {number: pairs for number, pairs in enumerate(histogram) if pairs} == {0: 2, 1: 1, 18: 1, 38: 1, 39: 2}
