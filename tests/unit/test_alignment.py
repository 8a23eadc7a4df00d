"""Alignment: where points go, and what the pixels are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from app.vision import alignment
from app.vision.alignment import aligned_chip, cut, similarity_transform

TEMPLATE = ((47.55, 46.60), (100.48, 46.60), (74.01, 76.56), (50.41, 103.02), (97.61, 103.02))


def moved(points: NDArray[np.float64], angle: float, scale: float, shift: tuple[float, float]) -> NDArray[np.float64]:
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    turned: NDArray[np.float64] = points @ np.array([[cos, -sin], [sin, cos]]).T + shift
    return turned


@given(
    angle=st.floats(-3.1, 3.1), scale=st.floats(0.05, 20), x=st.floats(-500, 500), y=st.floats(-500, 500)
)  # fmt: skip
def test_a_similarity_transform_is_found_again(angle: float, scale: float, x: float, y: float) -> None:
    source = np.array(TEMPLATE)
    target = moved(source, angle, scale, (x, y))
    found = similarity_transform(source, target)
    assert np.allclose(source @ found[:, :2].T + found[:, 2], target, atol=1e-6 * (scale * 150 + 500))


def test_a_mirrored_face_is_never_unmirrored() -> None:
    source = np.array(TEMPLATE)
    found = similarity_transform(source, source * [-1, 1])
    assert np.linalg.det(found[:, :2]) > 0


def test_points_that_coincide_give_a_finite_transform() -> None:
    assert np.isfinite(similarity_transform(np.array(TEMPLATE), np.zeros((5, 2)))).all()
    assert np.isfinite(similarity_transform(np.zeros((5, 2)), np.array(TEMPLATE))).all()


def test_a_face_that_lies_on_the_template_is_cut_out_pixel_by_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 256, (200, 220, 3), np.uint8)
    # The template counts from pixel centres, the detector from pixel edges.
    landmarks = np.array(TEMPLATE, np.float32) + 0.5 + np.array([30, 20], np.float32)
    chip = aligned_chip(image, landmarks, TEMPLATE, 150)
    assert np.abs(chip.astype(int) - image[20:170, 30:180]).max() <= 1


@pytest.mark.parametrize("quarter_turns", [1, 2, 3])
def test_a_turned_face_comes_out_upright(quarter_turns: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
    turned = np.rot90(image, quarter_turns)
    points = np.array(TEMPLATE) + 0.5 - 75
    angle = -quarter_turns * np.pi / 2
    landmarks = moved(points, angle, 1, (75, 75)).astype(np.float32)
    chip = aligned_chip(np.ascontiguousarray(turned), landmarks, TEMPLATE, 150)
    assert np.abs(chip.astype(int) - image).mean() < 1


def test_what_lies_outside_the_image_is_black() -> None:
    image = np.full((100, 100, 3), 200, np.uint8)
    chip = cut(image, np.array([[1.0, 0, -50], [0, 1, 0], [0, 0, 1]]), 100)
    assert (chip[:, :49] == 0).all()
    assert (chip[:, 51:] == 200).all()
    assert (cut(image, np.array([[1.0, 0, 500], [0, 1, 500], [0, 0, 1]]), 100) == 0).all()


def test_a_large_face_is_averaged_and_not_skipped_through() -> None:
    # Stripes of one pixel: sampling every eighth pixel would give black or white, averaging gives grey.
    image = np.zeros((1200, 1200, 3), np.uint8)
    image[:, ::2] = 255
    chip = cut(image, np.diag([8.0, 8.0, 1.0]), 150)
    assert np.abs(chip.astype(int) - 127).max() <= 2


def test_a_large_region_is_averaged_in_bands_as_if_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).integers(0, 256, (403, 611, 3), np.uint8)
    at_once = cut(image, np.diag([3.0, 3.0, 1.0]), 130)
    monkeypatch.setattr(alignment, "_ROWS_OF_PIXELS", 611 * 3 * 5)
    assert (cut(image, np.diag([3.0, 3.0, 1.0]), 130) == at_once).all()


def test_a_chip_that_reaches_to_the_horizon_is_black() -> None:
    image = np.full((100, 100, 3), 200, np.uint8)
    tilted = np.array([[1.0, 0, 0], [0, 1, 0], [0.02, 0, -1]])
    assert (cut(image, tilted, 100) == 0).all()


def test_a_face_is_cut_through_the_plane_in_which_it_is_not_distorted() -> None:
    # The face lies in the image at half its width: the frame stretches it again.
    image = np.random.default_rng(0).integers(0, 256, (150, 150, 3), np.uint8)
    squeezed = np.asarray(Image.fromarray(image).resize((75, 150), Image.Resampling.BOX))
    frame = np.diag([0.5, 1.0, 1.0])
    landmarks = ((np.array(TEMPLATE) + 0.5) * [0.5, 1]).astype(np.float32)
    chip = aligned_chip(squeezed, landmarks, TEMPLATE, 150, frame=frame)
    wide = np.asarray(Image.fromarray(squeezed).resize((150, 150), Image.Resampling.BILINEAR))
    assert np.abs(chip.astype(int) - wide).mean() < 4


def test_a_chip_of_a_smaller_copy_of_an_image_shows_the_same() -> None:
    rows, columns = np.mgrid[0:1200, 0:1600]
    image = np.stack([columns * 0.15, rows * 0.2, (rows + columns) * 0.08], axis=2).astype(np.uint8)
    smaller = image.reshape(400, 3, 400, 4, 3).mean(axis=(1, 3)).astype(np.uint8)
    landmarks = (np.array(TEMPLATE) * 5 + [300, 200]).astype(np.float32)
    whole = aligned_chip(image, landmarks, TEMPLATE, 150)
    reduced = aligned_chip(smaller, landmarks, TEMPLATE, 150, scale=(0.25, 1 / 3))
    assert np.abs(reduced.astype(int) - whole).max() <= 3
