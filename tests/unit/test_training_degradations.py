"""What is done to faces to train on: it changes what it says and leaves the rest."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from app.catalogue.models import DLIB_TEMPLATE
from app.catalogue.roles import QualityClass
from app.training.blurs import defocused, shaken, softened
from app.training.covers import (
    behind_a_hand,
    behind_a_picture,
    behind_an_object,
    beside_an_object,
    in_dark_glasses,
    in_glasses,
    masked,
)
from app.training.portrait import POINTS, SIDE, Portrait, chip
from app.training.quality_samples import KINDS
from app.training.turns import pitched, turned, yawed
from app.vision.alignment import aligned_chip
from tests.pictures import drawing, pixels

PORTRAIT = Portrait(pixels(drawing(1, size=(SIDE, SIDE))), POINTS, 117)
OTHER = Portrait(pixels(drawing(2, size=(SIDE, SIDE))), POINTS, 117)


def changed(before: Portrait, after: Portrait) -> NDArray[np.bool_]:
    return np.asarray(np.abs(before.pixels.astype(int) - after.pixels).max(2) > 8)


def moving(image: NDArray[np.uint8]) -> float:
    """Mean difference of neighbouring pixels: what blur takes away."""
    return float(np.abs(np.diff(image.astype(int), axis=0)).mean() + np.abs(np.diff(image.astype(int), axis=1)).mean())


@pytest.mark.parametrize("name", KINDS)
def test_a_seed_decides_the_sample_and_the_portrait_stays_as_it_was(name: str) -> None:
    before = PORTRAIT.pixels.copy()

    def sample(seed: int) -> NDArray[np.uint8]:
        random = np.random.default_rng(seed)
        return chip(KINDS[name].make(PORTRAIT, OTHER, random), random)

    one = sample(1)
    assert one.shape == (150, 150, 3)
    assert one.dtype == np.uint8
    np.testing.assert_array_equal(one, sample(1))
    assert (one != sample(2)).any()
    np.testing.assert_array_equal(PORTRAIT.pixels, before)


def test_every_class_has_kinds_of_samples() -> None:
    assert {kind.label for kind in KINDS.values()} >= set(QualityClass)


@pytest.mark.parametrize("blur", [defocused, shaken])
def test_a_blurred_face_keeps_its_light_and_loses_its_detail(blur: object) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    portrait = Portrait(noise, POINTS, 117)
    assert callable(blur)
    for seed in range(5):
        blurred = blur(portrait, np.random.default_rng(seed))
        assert blurred.pixels.mean() == pytest.approx(noise.mean(), abs=1)
        assert moving(blurred.pixels) < moving(noise) / 5


def test_a_shaken_face_is_blurred_along_one_line_and_a_point_out_of_focus_is_a_disc() -> None:
    dark = np.zeros((SIDE, SIDE, 3), np.uint8)
    dark[150, 150] = 255
    for make, longest, area in ((shaken, 32, 70), (defocused, 22, 320)):
        spot = make(Portrait(dark, POINTS, 117), np.random.default_rng(1)).pixels[..., 0] > 0
        rows, columns = np.nonzero(spot)
        assert 10 <= max(np.ptp(rows), np.ptp(columns)) <= longest
        assert spot.sum() < area
        assert abs(rows.mean() - 150) < 2
        assert abs(columns.mean() - 150) < 2


def test_a_stronger_blur_takes_more_away() -> None:
    weak, strong = (
        moving(softened(PORTRAIT, np.random.default_rng(1), least=size, most=size).pixels) for size in (0.5, 4)
    )
    assert strong < weak < moving(PORTRAIT.pixels)


@pytest.mark.parametrize("cover", [masked, in_dark_glasses, behind_an_object, behind_a_hand])
def test_a_cover_hides_a_part_of_the_face_and_not_all_of_it(cover: object) -> None:
    assert callable(cover)
    for seed in range(12):
        hidden = changed(PORTRAIT, cover(PORTRAIT, np.random.default_rng(seed)))[80:225, 85:215]
        assert 0.04 < hidden.mean() < 0.9


def test_a_mask_hides_the_mouth_and_dark_glasses_the_eyes() -> None:
    for make, points, spared in ((masked, POINTS[3:], POINTS[:2]), (in_dark_glasses, POINTS[:2], POINTS[3:])):
        hidden = changed(PORTRAIT, make(PORTRAIT, np.random.default_rng(3)))
        assert all(hidden[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5].mean() > 0.8 for x, y in points)
        assert not any(hidden[int(y) - 4 : int(y) + 5, int(x) - 4 : int(x) + 5].any() for x, y in spared)


def test_what_covers_part_of_a_face_may_be_of_another_picture() -> None:
    hidden = changed(PORTRAIT, behind_a_picture(PORTRAIT, OTHER, np.random.default_rng(1)))
    assert hidden[80:225, 85:215].any()


def test_objects_beside_a_face_and_thin_glasses_leave_eyes_nose_and_mouth_to_be_seen() -> None:
    for seed in range(30):
        for make in (beside_an_object, in_glasses):
            hidden = changed(PORTRAIT, make(PORTRAIT, np.random.default_rng(seed)))
            assert not any(hidden[int(y) - 3 : int(y) + 4, int(x) - 3 : int(x) + 4].any() for x, y in POINTS)
            assert hidden[90:210, 95:205].mean() < 0.15


@pytest.mark.parametrize("degrees", [-45, -20, 20, 45])
def test_turning_a_head_moves_the_nose_further_than_the_eyes_and_leaves_what_is_around_it(degrees: float) -> None:
    portrait = turned(PORTRAIT, degrees, np.random.default_rng(1))
    shifts = (portrait.landmarks - POINTS)[:, 0] * np.sign(degrees)
    assert shifts[2] > shifts[[0, 1, 3, 4]].max() > 0
    eyes = portrait.landmarks[1, 0] - portrait.landmarks[0, 0]
    assert eyes < POINTS[1, 0] - POINTS[0, 0]
    np.testing.assert_array_equal(portrait.landmarks[:, 1], POINTS[:, 1])
    around = np.ones((SIDE, SIDE), bool)
    around[40:236, 70:230] = False
    assert not changed(PORTRAIT, portrait)[around].any()


def test_turning_by_nothing_changes_nothing() -> None:
    portrait = turned(PORTRAIT, 0.0, np.random.default_rng(1))
    np.testing.assert_allclose(portrait.pixels, PORTRAIT.pixels, atol=1)
    np.testing.assert_allclose(portrait.landmarks, POINTS)


def test_yaw_moves_along_rows_and_pitch_along_columns() -> None:
    yaw, pitch = (make(PORTRAIT, np.random.default_rng(1), least=40, most=40) for make in (yawed, pitched))
    assert np.abs(yaw.landmarks - POINTS).max(0).tolist() == [pytest.approx(np.abs(yaw.landmarks - POINTS).max()), 0]
    assert np.abs(pitch.landmarks - POINTS).max(0)[0] == 0
    assert np.abs(pitch.landmarks - POINTS).max(0)[1] > 5


def test_a_portraits_centre_is_the_chip_that_the_service_cuts_out() -> None:
    photo = pixels(drawing(3, size=(400, 400)).resize((400, 400)))
    landmarks = (np.asarray(DLIB_TEMPLATE) + 0.5 + 100).astype(np.float32)
    portrait = Portrait.cut_out(photo, landmarks, 117)
    wanted = aligned_chip(photo, landmarks, DLIB_TEMPLATE, 150)
    assert np.abs(portrait.pixels[75:225, 75:225].astype(int) - wanted).max() <= 1
