"""Where the top of a head points."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.catalogue.models import DLIB_TEMPLATE
from app.vision.alignment import similarity_transform
from app.vision.orientation import MEAN_FACE, Orientation, expected_landmarks, misfit, orientation, roll

CLOCKWISE_FROM_UP = ["up", "up_right", "right", "down_right", "down", "down_left", "left", "up_left"]


def tilted(degrees: float, *, scale: float = 80, at: tuple[float, float] = (300, 200)) -> NDArray[np.float64]:
    """The mean face turned counter-clockwise, as seen in an image, whose y points down."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.asarray((MEAN_FACE - 0.5) @ np.array([[cos, sin], [-sin, cos]]).T * scale + at)


@pytest.mark.parametrize(("step", "name"), list(enumerate(CLOCKWISE_FROM_UP)))
@pytest.mark.parametrize("off", [-22, -10, 0, 10, 22])
def test_the_octant_is_the_one_that_the_top_of_the_head_points_to(step: int, name: str, off: int) -> None:
    assert orientation(tilted(-45 * step + off)) is Orientation(name)


def test_the_top_of_a_head_on_the_left_is_left() -> None:
    # Eyes on the left, mouth on the right of the image.
    points = np.array([[10, 60], [10, 20], [30, 40], [50, 60], [50, 20]], np.float32)
    assert orientation(points) is Orientation.LEFT
    assert roll(points) == pytest.approx(90)


@given(st.floats(-179, 179), st.floats(1, 5000))
def test_the_angle_is_found_whatever_the_size(degrees: float, scale: float) -> None:
    assert roll(tilted(degrees, scale=scale)) == pytest.approx(degrees, abs=1.5), "the mean face itself leans a little"


def test_the_mean_face_is_the_embedding_models_own() -> None:
    assert np.array(DLIB_TEMPLATE) / 150 == pytest.approx(MEAN_FACE, abs=1e-4)


@given(st.floats(-179, 179), st.floats(5, 2000))
def test_a_face_fits_whichever_way_it_is_turned_and_a_mirrored_or_scrambled_one_does_not(
    degrees: float, scale: float
) -> None:
    face = tilted(degrees, scale=scale)
    assert misfit(face) < 1e-6
    assert misfit(face[[1, 0, 2, 4, 3]]) > 0.1, "as the detector sees a face that is upside down"
    assert misfit(face[[3, 4, 2, 0, 1]]) > 0.1


def test_expected_landmarks_lie_in_the_box_as_those_of_a_detected_face_do() -> None:
    # The example photo's face: box and landmarks as the detector finds them.
    box = np.array([[180, 58], [271, 58], [271, 176], [180, 176]], np.float64)
    expected = expected_landmarks(box)
    across, down = expected.mean(axis=0)
    assert (across, down) == pytest.approx((225.5, 127), abs=4)
    assert ((expected > [180, 58]) & (expected < [271, 176])).all()
    to_mean = similarity_transform(expected.astype(np.float64), MEAN_FACE)
    assert 1 / np.sqrt(np.linalg.det(to_mean[:, :2])) == pytest.approx(1.089 * np.sqrt(91 * 118), rel=1e-3)
