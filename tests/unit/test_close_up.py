"""Close looks at a face: where they come from, which of them counts, and when two agree."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from app.vision.close_up import (
    SIDE,
    Arrays,
    CloseUp,
    Look,
    around,
    around_quadrilateral,
    box_in_close_up,
    close_up,
    is_detailed,
    looks,
    strip,
    tilted_by,
)
from app.vision.homography import inverse, mapped
from app.vision.orientation import MEAN_FACE, roll
from app.vision.quadrilateral import Quadrilateral
from app.vision.quarters import turned

BOX = (100.0, 200.0, 180.0, 300.0)
LANDMARKS = MEAN_FACE * 80 + [100, 210]


def candidates(*seen: tuple[NDArray[np.float64], float]) -> Arrays:
    """What a detector would say of faces with these landmarks, in pixels of its input."""
    points = np.array([landmarks for landmarks, _ in seen], np.float32)
    centres = points.mean(axis=1)
    boxes = np.concatenate([centres - 48, centres + 48], axis=1).astype(np.float32)
    return boxes, np.array([score for _, score in seen], np.float32), points


def look(score: float, landmarks: NDArray[np.float64] = LANDMARKS, *, tilt: float = 0, misfit: float = 0.01) -> Look:
    return Look(score, landmarks.astype(np.float32), tilt, misfit)


def test_a_close_up_shows_twice_the_longest_side_around_the_box() -> None:
    corners = mapped(np.array([[0, 0], [SIDE, SIDE]]), around(BOX))
    assert corners.tolist() == [[40, 150], [240, 350]]
    in_image = mapped(box_in_close_up(80, 100), around(BOX))
    assert in_image == pytest.approx(np.array([[100, 200], [180, 200], [180, 300], [100, 300]]))


def test_the_close_up_of_a_box_that_leans_stands_upright() -> None:
    image = np.zeros((400, 400, 3), np.uint8)
    image[150:250, 150:250] = 200
    lying = Quadrilateral([(150, 250), (150, 150), (250, 150), (250, 250)])  # the top is on the left
    image[150:250, 150:170] = 90  # the part at the top of the box
    shown = close_up(image, around_quadrilateral(lying)).pixels
    assert shown.shape == (SIDE, SIDE, 3)
    assert np.abs(shown[52:64, 60:130].astype(int) - 90).max() <= 1
    assert np.abs(shown[80:140, 60:130].astype(int) - 200).max() <= 1
    assert (shown[:40] == 0).all()


def test_a_strip_holds_the_turns_side_by_side() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    turns = strip(CloseUp(pixels, np.eye(3)), (1, 2, 3))
    assert turns.shape == (SIDE, 3 * SIDE, 3)
    assert (turns[:, SIDE : 2 * SIDE] == np.rot90(pixels, 2)).all()


@pytest.mark.parametrize("stands", range(4))
def test_the_look_at_the_right_turn_leads_back_to_the_landmarks_in_the_image(stands: int) -> None:
    to_image = around(BOX)
    shown = CloseUp(np.zeros((SIDE, SIDE, 3), np.uint8), to_image)
    upright = MEAN_FACE * 96 + 48
    seen = upright + np.array([stands * SIDE, 0])  # found in the turn in which the face stands upright
    [found] = looks(shown, range(4), candidates((seen, 0.9)), box_in_close_up(80, 100))
    assert found.misfit < 1e-3
    assert abs(found.tilt) < 2
    in_close_up = turned(upright, -stands, SIDE, SIDE)
    assert found.landmarks == pytest.approx(mapped(in_close_up, to_image), abs=0.01)
    assert round(-roll(found.landmarks) / 90) % 4 == stands


def test_other_faces_in_the_surroundings_are_passed_over_and_the_surest_candidate_counts() -> None:
    shown = CloseUp(np.zeros((SIDE, SIDE, 3), np.uint8), np.eye(3))
    upright = MEAN_FACE * 96 + 48
    said = candidates((upright - [70, 0], 0.99), (upright + np.array([4, 0]), 0.8), (upright, 0.7))
    [found] = looks(shown, (0,), said, box_in_close_up(100, 100))
    assert found.score == pytest.approx(0.8)
    assert looks(shown, (0,), candidates((upright + np.array([SIDE, 0]), 0.9)), box_in_close_up(100, 100)) == []


@pytest.mark.parametrize("degrees", [-135, -40, 25, 170])
def test_a_tilted_head_stands_upright_in_the_turned_surroundings(degrees: float) -> None:
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    leaning = (MEAN_FACE - 0.5) @ np.array([[cos, sin], [-sin, cos]]).T * 90 + [140, 250]
    turned_back = inverse(tilted_by(degrees, around(BOX)))
    assert roll(mapped(leaning, turned_back)) == pytest.approx(0, abs=1.5)
    assert mapped(np.array([[140, 250]]), turned_back)[0] == pytest.approx([SIDE / 2, SIDE / 2])


def test_two_looks_that_agree_on_a_plausible_face_are_sure() -> None:
    near = LANDMARKS.astype(np.float32)
    assert look(0.9).is_sure(near + 5, 100)
    assert not look(0.9).is_sure(near + 8, 100), "they do not agree"
    assert not look(0.7).is_sure(near, 100), "the detector is not sure"
    assert not look(0.9, misfit=0.04).is_sure(near, 100), "no plausible face"
    assert not look(0.9, tilt=45).is_sure(near, 100), "neither upright nor in the next quarter"


def test_landmarks_that_fit_a_face_outweigh_a_slightly_higher_score() -> None:
    assert look(0.85, misfit=0.02).merit > look(0.9, misfit=0.1).merit
    assert look(0.9, misfit=0.02).merit > look(0.85, misfit=0.02).merit


def test_what_is_no_face_has_a_low_score_or_fits_none() -> None:
    assert look(0.5).is_face(0.5)
    assert not look(0.49).is_face(0.5)
    assert not look(0.6, misfit=0.11).is_face(0.5), "a dog"
    assert look(0.87, misfit=0.1).is_face(0.5), "a profile"


def test_a_close_up_of_a_smaller_copy_of_an_image_shows_the_same_and_knows_the_way_to_the_image() -> None:
    rows, columns = np.mgrid[0:1200, 0:1600]
    image = np.stack([columns * 0.15, rows * 0.2, (rows + columns) * 0.08], axis=2).astype(np.uint8)
    smaller = image.reshape(600, 2, 800, 2, 3).mean(axis=(1, 3)).astype(np.uint8)
    to_image = around((400.0, 300.0, 900.0, 900.0))
    whole, reduced = close_up(image, to_image), close_up(smaller, to_image, (0.5, 0.5))
    assert np.array_equal(reduced.to_image, whole.to_image)
    apart = np.abs(reduced.pixels.astype(int) - whole.pixels)
    assert apart.max() <= 3


@pytest.mark.parametrize(
    ("side", "scale", "expected"), [(300, 0.5, True), (300, 0.25, False), (128, 1.0, True), (100, 1.0, False)]
)
def test_a_face_is_detailed_while_it_is_larger_than_models_see_it(side: float, scale: float, *, expected: bool) -> None:
    assert is_detailed((10, 10, 10 + side, 30 + side), (scale, scale)) is expected
