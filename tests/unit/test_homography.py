"""Maps of the plane, and the boxes that callers give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.vision.homography import affine, homogeneous, homography, inverse, mapped, scaling
from app.vision.quadrilateral import Quadrilateral
from app.vision.quarters import turned, turned_back

UNIT = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float64)
RECTANGLE = np.array([[48, 60], [144, 60], [144, 132], [48, 132]], np.float64)
EDGES = np.array([[0, 0], [192, 0], [192, 192], [0, 192]], np.float64)


@st.composite
def boxes(draw: st.DrawFn) -> Quadrilateral:
    """Any four points of an ellipse, in their order: convex, and every kind of quadrilateral."""
    angles = np.radians([90 * corner + draw(st.floats(3, 87)) for corner in range(4)])
    wide, high = draw(st.floats(20, 900)), draw(st.floats(20, 900))
    circle = np.column_stack([np.cos(angles) * wide, np.sin(angles) * high])
    return Quadrilateral((circle + np.array([draw(st.floats(-1500, 3500)), draw(st.floats(-1500, 3500))])).tolist())


def box(*points: tuple[float, float]) -> Quadrilateral:
    return Quadrilateral(points)


@given(boxes())
def test_four_corners_are_taken_to_four_corners_and_back(drawn: Quadrilateral) -> None:
    there = homography(UNIT, drawn.corners)
    assert np.allclose(mapped(UNIT, there), drawn.corners, atol=1e-3)
    assert np.allclose(mapped(drawn.corners, inverse(there)), UNIT, atol=1e-3)


def test_a_map_without_perspective_is_found_exactly_where_there_is_one() -> None:
    slanted = homogeneous(np.array([[2, 0.5, 7], [-0.25, 1, 3]]))
    assert np.allclose(affine(RECTANGLE, mapped(RECTANGLE, slanted)), slanted)
    assert np.allclose(homography(RECTANGLE, mapped(RECTANGLE, slanted)), slanted)


def test_scaling_is_the_local_one_under_perspective() -> None:
    assert scaling(np.diag([3.0, 3, 1]), np.array([5, 5])) == pytest.approx(3)
    away = homography(UNIT * 100, np.array([[0, 0], [100, 0], [60, 100], [40, 100]], np.float64))
    near, far = scaling(away, np.array([50, 0])), scaling(away, np.array([50, 100]))
    assert near > far
    [one, other] = mapped(np.array([[50, 99.99], [50.01, 99.99]]), away)
    assert scaling(away, np.array([50, 99.99])) > 0
    assert np.linalg.norm(one - other) / 0.01 == pytest.approx(0.2, rel=0.02), "the far side is a fifth as wide"


def test_the_sides_of_a_box_are_measured_along_the_face() -> None:
    upright = box((10, 20), (110, 20), (110, 170), (10, 170))
    assert (upright.width, upright.height) == (100, 150)
    lying = box((10, 170), (10, 20), (160, 20), (160, 170))
    assert (lying.width, lying.height) == (150, 150)
    leaning = box((0, 30), (40, 0), (70, 40), (30, 70))
    assert (leaning.width, leaning.height) == (50, 50)


@pytest.mark.parametrize(
    ("points", "problem"),
    [
        ([(0, 0), (10, 0), (10, 10), (0, 0)], "two of its corners are one point"),
        ([(5, 5)] * 4, "two of its corners are one point"),
        ([(0, 0), (10, 0), (20, 0), (0, 10)], "three of its corners lie on a line"),
        ([(0, 0), (10, 10), (20, 20), (30, 30)], "three of its corners lie on a line"),
        ([(0, 0), (10, 10), (10, 0), (0, 10)], "its sides cross or turn inwards"),
        ([(0, 0), (10, 0), (2, 2), (0, 10)], "its sides cross or turn inwards"),
    ],
)  # fmt: skip
def test_what_is_no_box_says_why(points: list[tuple[float, float]], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Quadrilateral(points)


def test_corners_named_the_other_way_round_do_not_mirror_the_face() -> None:
    clockwise = box((0, 0), (10, 0), (10, 20), (0, 20))
    other_way = box((0, 0), (0, 20), (10, 20), (10, 0))
    assert (clockwise.corners == other_way.corners).all()


@given(boxes(), st.integers(1, 3000), st.integers(1, 3000))
def test_the_share_of_a_box_inside_an_image_is_that_of_its_points(
    drawn: Quadrilateral, width: int, height: int
) -> None:
    low, high = drawn.corners.min(axis=0), drawn.corners.max(axis=0)
    points = np.random.default_rng(0).uniform(low, high, (4000, 2))
    sides = np.roll(drawn.corners, -1, axis=0) - drawn.corners
    offsets = points[:, np.newaxis] - drawn.corners
    in_box = points[(sides[:, 0] * offsets[..., 1] - sides[:, 1] * offsets[..., 0] >= 0).all(axis=1)]
    in_both = ((in_box >= 0) & (in_box <= [width, height])).all(axis=1)
    share = drawn.share_inside(width, height)
    assert 0 <= share <= 1 + 1e-9
    if len(in_box) > 400:
        assert share == pytest.approx(in_both.mean(), abs=0.1)


def test_a_box_beside_the_corner_of_an_image_lies_outside_it() -> None:
    assert box((110, 90), (130, 110), (110, 130), (90, 110)).share_inside(100, 100) == 0, "its bounding box overlaps"
    assert box((100, 0), (150, 0), (150, 50), (100, 50)).share_inside(100, 100) == 0
    assert box((75, 0), (125, 0), (125, 50), (75, 50)).share_inside(100, 100) == pytest.approx(0.5)
    assert box((-10, -10), (190, -10), (190, 190), (-10, 190)).share_inside(100, 100) == pytest.approx(0.25)
    assert box((10, 10), (60, 10), (60, 90), (10, 90)).share_inside(100, 100) == pytest.approx(1)


@pytest.mark.parametrize("bottom", [1, 37, 100, 150, 199])
@pytest.mark.parametrize("height", range(150, 1000, 50))
def test_a_trapezoid_whose_horizon_goes_through_a_corner_of_its_surroundings_is_rectified(
    bottom: int, height: int
) -> None:
    # Three times as wide at the top: the depth at the surroundings' upper corners is 0 or close to it.
    trapezoid = box((0, 0), (3 * bottom, 0), (2 * bottom, height), (bottom, height))
    rectangle = np.array([[96 - 24, 48], [96 + 24, 48], [96 + 24, 144], [96 - 24, 144]], np.float64)
    assert np.allclose(mapped(rectangle, homography(rectangle, trapezoid.corners)), trapezoid.corners, atol=1e-6)
    assert np.isfinite(mapped(EDGES, trapezoid.rectified(rectangle, EDGES))).all()


def test_a_box_in_perspective_is_rectified() -> None:
    tapered = box((100, 100), (200, 110), (195, 240), (105, 220))
    there = tapered.rectified(RECTANGLE, EDGES)
    assert np.allclose(mapped(RECTANGLE, there), tapered.corners)
    assert there[2, :2].any()


@given(boxes())
def test_a_map_is_good_for_all_surroundings_of_any_box(drawn: Quadrilateral) -> None:
    there = drawn.rectified(RECTANGLE, EDGES)
    depths = np.column_stack([EDGES, np.ones(4)]) @ there[2]
    assert depths.min() > 0
    assert depths.max() / depths.min() <= 2.5 + 1e-9
    assert np.isfinite(mapped(EDGES, there)).all()


def test_too_strong_a_perspective_is_taken_for_none() -> None:
    spike = box((0, 0), (1000, 0), (520, 300), (500, 300))
    assert (spike.rectified(RECTANGLE, EDGES)[2] == [0, 0, 1]).all()


@given(st.integers(-5, 9), st.integers(0, 39).map(lambda x: x + 0.3), st.integers(0, 29).map(lambda y: y + 0.6))
def test_a_point_goes_where_its_pixel_goes(quarters: int, x: float, y: float) -> None:
    picture = np.arange(30 * 40).reshape(30, 40)
    [(there_x, there_y)] = turned(np.array([[x, y]]), quarters, 40, 30)
    around = np.rot90(picture, quarters)
    assert around[int(there_y), int(there_x)] == picture[int(y), int(x)]
    assert turned_back(np.array([[there_x, there_y]]), quarters, 40, 30)[0] == pytest.approx([x, y])
