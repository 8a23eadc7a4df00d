"""Exact distances are what their definitions say."""

from __future__ import annotations

import math

import numpy as np
import pytest

from app.services.distances import measures, measures_between
from app.store.records import Metric


def test_the_distance_of_points_is_that_of_pythagoras() -> None:
    others = np.array([[3, 4, 0], [0, 0, 0.1], [0, 0, 0]], np.float32)
    found = measures(Metric.L2, np.zeros(3, np.float32), others)
    assert found.tolist() == pytest.approx([5.0, 0.1, 0.0], abs=1e-8)


def test_a_small_distance_between_long_vectors_keeps_its_digits() -> None:
    one = np.full(128, 1000, np.float32)
    other = one.copy()
    other[0] += 0.0625
    assert measures(Metric.L2, one, other[np.newaxis]).tolist() == [0.0625]


def test_the_cosine_does_not_depend_on_length_and_stays_within_one() -> None:
    one = np.array([1, 1, 1], np.float32)
    others = np.array([[7, 7, 7], [-2, -2, -2], [1, -1, 0], [1, 0, 0]], np.float32)
    found = measures(Metric.COSINE, one, others)
    assert found.tolist() == pytest.approx([1, -1, 0, 1 / math.sqrt(3)])
    assert abs(found).max() <= 1


@pytest.mark.parametrize("metric", list(Metric))
def test_the_measures_between_many_are_those_of_each_pair(metric: Metric) -> None:
    random = np.random.default_rng(3)
    ones, others = (random.standard_normal((number, 16)).astype(np.float32) for number in (5, 9))
    others[4] = ones[2]
    found = measures_between(metric, ones, others)
    assert found.shape == (5, 9)
    for row, one in enumerate(ones):
        assert found[row].tolist() == pytest.approx(measures(metric, one, others).tolist(), abs=1e-7)
