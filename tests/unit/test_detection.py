"""From candidates to faces."""

from __future__ import annotations

import numpy as np
import pytest

from app.vision.detection import Face, faces_from_candidates, non_maximum_suppression
from app.vision.letterbox import Letterbox, letterbox, squash


def faces(boxes: list[list[float]], scores: list[float], *, scale: tuple[float, float] = (1, 1)) -> list[Face]:
    frame = Letterbox(np.zeros((640, 640, 3), np.uint8), *scale)
    array = np.array(boxes, np.float32).reshape(-1, 4)
    landmarks = np.repeat(array[:, None, :2], 5, axis=1)
    return faces_from_candidates(
        array, np.array(scores, np.float32), landmarks, frame,
        width=1000, height=500, score_threshold=0.5, nms_iou=0.3,
    )  # fmt: skip


def test_weak_candidates_and_overlapping_ones_are_dropped_and_the_largest_face_comes_first() -> None:
    found = faces(
        [[0, 0, 50, 50], [2, 2, 52, 52], [100, 100, 200, 200], [300, 300, 350, 350]], [0.9, 0.8, 0.7, 0.49]
    )  # fmt: skip
    assert [face.box for face in found] == [(100, 100, 200, 200), (0, 0, 50, 50)]
    assert found[1].score == pytest.approx(0.9)


def test_boxes_and_landmarks_come_back_in_the_pixels_of_the_image_inside_it() -> None:
    [face] = faces([[-10, 20, 700, 60]], [0.9], scale=(0.64, 0.5))
    assert face.box == pytest.approx((0, 40, 1000, 120))
    assert face.landmarks[0] == pytest.approx((-10 / 0.64, 40))
    assert face.points == ((0, 40), (1000, 40), (1000, 120), (0, 120))


def test_a_candidate_in_the_padding_or_without_a_size_or_not_finite_is_no_face() -> None:
    assert faces([[0, 500, 50, 600], [5, 5, 5.5, 50], [float("nan"), 0, 9, 9]], [0.9, 0.9, 0.9]) == []


def test_no_candidates_give_no_faces() -> None:
    assert faces([], []) == []


def test_suppression_keeps_boxes_that_overlap_by_the_bound_exactly() -> None:
    boxes = np.array([[0, 0, 10, 10], [5, 0, 15, 10]], np.float32)  # intersection 50, union 150
    scores = np.array([0.9, 0.8], np.float32)
    assert non_maximum_suppression(boxes, scores, 0.34) == [0, 1]
    assert non_maximum_suppression(boxes, scores, 0.33) == [0]


@pytest.mark.parametrize(
    ("size", "shape"), [((480, 640), (480, 640)), ((3000, 4000), (480, 640)), ((60, 45), (640, 480)), ((1, 2000), (32, 640))]
)  # fmt: skip
def test_a_letterbox_has_sides_of_the_wanted_multiple(size: tuple[int, int], shape: tuple[int, int]) -> None:
    image = np.full((*size, 3), 255, np.uint8)
    frame = letterbox(image, long_side=640, multiple=32)
    assert frame.pixels.shape == (*shape, 3)
    assert frame.pixels.dtype == np.uint8


def test_pixels_that_fit_the_detector_are_not_copied() -> None:
    image = np.full((480, 640, 3), 7, np.uint8)
    frame = letterbox(image, long_side=640, multiple=32)
    assert np.shares_memory(frame.pixels, image)
    assert (frame.scale_x, frame.scale_y) == (1.0, 1.0)


def test_a_letterbox_of_a_smaller_copy_leads_back_to_the_image() -> None:
    copy = np.zeros((1500, 2000, 3), np.uint8)
    frame = letterbox(copy, long_side=640, multiple=32).rescaled((0.5, 0.5))
    assert frame.to_image(np.array([[640.0, 480.0], [64.0, 48.0]])).tolist() == [[4000.0, 3000.0], [400.0, 300.0]]


def test_the_padding_is_black_and_the_scale_leads_back() -> None:
    frame = letterbox(np.full((100, 333, 3), 255, np.uint8), long_side=640, multiple=32)
    assert frame.pixels.shape == (192, 640, 3)
    assert frame.scale_x == pytest.approx(640 / 333)
    assert frame.scale_y == pytest.approx(192 / 100)
    tall = letterbox(np.full((333, 90, 3), 255, np.uint8), long_side=640, multiple=32)
    assert tall.pixels.shape == (640, 192, 3)
    assert (tall.pixels[:, round(90 * tall.scale_x) :] == 0).all()
    assert (tall.pixels[:, : round(90 * tall.scale_x)] == 255).all()


def test_squashing_averages_areas() -> None:
    image = np.zeros((256, 512, 3), np.uint8)
    image[::2] = 200
    assert (squash(image, 128) == 100).all()
