"""Scores: the figures of the models' descriptions, monotone, and a bound that loses no hit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.vision.calibration import SCORE_STEPS, Calibration, PowerOfCosine, SigmoidOfDistance, calibration

FACES = SigmoidOfDistance(slope=14, midpoint=0.55, offset=-0.2007)
IMAGES = PowerOfCosine(floor=0, exponent=1.6)


@pytest.mark.parametrize(("distance", "score"), [(0.0, 0.999447), (0.372, 0.9079), (0.55, 0.45), (0.888, 0.0072)])
def test_face_distances_have_the_scores_that_the_calibration_was_made_for(distance: float, score: float) -> None:
    assert FACES.score(distance) == pytest.approx(score, abs=5e-4)


@pytest.mark.parametrize(("cosine", "score"), [(1.0, 1.0), (1.0000001, 1.0), (0.471, 0.3), (0.0, 0.0), (-1.0, 0.0)])
def test_image_similarities_have_the_scores_that_the_calibration_was_made_for(cosine: float, score: float) -> None:
    assert IMAGES.score(cosine) == pytest.approx(score, abs=2e-3)


@given(st.floats(0, 3), st.floats(0, 3))
def test_a_smaller_distance_never_scores_lower(one: float, other: float) -> None:
    near, far = sorted((one, other))
    assert 0 <= FACES.score(far) <= FACES.score(near) <= 1


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_a_higher_similarity_never_scores_lower(one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert 0 <= IMAGES.score(less) <= IMAGES.score(more) <= 1


@given(st.floats(0, 1), st.floats(0, 3))
def test_every_distance_that_reaches_the_threshold_lies_within_its_bound(threshold: float, distance: float) -> None:
    if FACES.score(distance) >= threshold:
        assert distance <= FACES.bound(threshold)


@given(st.floats(0, 1), st.floats(-1, 1))
def test_every_similarity_that_reaches_the_threshold_lies_within_its_bound(threshold: float, cosine: float) -> None:
    if IMAGES.score(cosine) >= threshold:
        assert cosine >= IMAGES.bound(threshold)


@given(st.floats(0, 3))
def test_a_face_is_a_hit_at_its_own_score(distance: float) -> None:
    assert distance <= FACES.bound(FACES.score(distance))


@given(st.floats(-1, 1))
def test_an_image_is_a_hit_at_its_own_score(cosine: float) -> None:
    assert cosine >= IMAGES.bound(IMAGES.score(cosine))


def test_a_threshold_of_zero_takes_everything() -> None:
    assert FACES.bound(0) == math.inf
    assert IMAGES.bound(0) == -1


def test_a_calibration_is_made_from_a_models_parameters() -> None:
    made: Calibration = calibration({"kind": "sigmoid", "slope": 14, "midpoint": 0.55, "offset": -0.2007})
    assert made == FACES
    assert calibration({"kind": "power", "floor": 0, "exponent": 1.6}) == IMAGES


@pytest.mark.parametrize(
    "parameters", [{}, {"kind": "magic"}, {"kind": "power", "floor": 0.5}, {"kind": "power", "x": 1}]
)
def test_parameters_that_are_no_calibration_are_refused(parameters: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="calibration"):
        calibration(parameters)


@pytest.mark.parametrize("scale", [FACES, IMAGES, PowerOfCosine(floor=0.3, exponent=0.7)])
def test_many_measures_have_the_scores_that_each_has(scale: Calibration) -> None:
    measures = np.random.default_rng(1).uniform(-1, 3, (50, 200))
    expected = [[scale.score(measure) for measure in row] for row in measures.tolist()]
    assert (scale.steps(measures) / SCORE_STEPS).tolist() == expected


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_even_measures_that_no_embedding_has_are_scored(measures: list[float]) -> None:
    for scale in (FACES, IMAGES):
        expected = [scale.score(measure) for measure in measures]
        assert (scale.steps(np.array(measures)) / SCORE_STEPS).tolist() == pytest.approx(expected, abs=1.01e-6)
