"""The altered copies: reproducible, of the photo, and another picture for every variant."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from app.training.alterations import altered, region
from app.training.variants import VARIANTS, drawing
from tests.pictures import drawing as shapes

PHOTO, OTHER = shapes(1), shapes(2, size=(200, 300))


def test_a_seed_decides_the_copy() -> None:
    def copies(seed: int) -> list[bytes]:
        random = np.random.default_rng(seed)
        return [altered(PHOTO, OTHER, random).tobytes() for _ in range(12)]

    assert copies(1) == copies(1)
    assert copies(1) != copies(2)
    assert len(set(copies(1))) == 12


def test_copies_are_rgb_and_leave_the_photo_as_it_was() -> None:
    before = PHOTO.tobytes()
    random = np.random.default_rng(3)
    for _ in range(60):
        copy = altered(PHOTO, OTHER, random)
        assert copy.mode == "RGB"
        assert min(copy.size) > 8
    assert PHOTO.tobytes() == before


def test_a_region_is_a_part_of_the_photo_within_the_wanted_shares() -> None:
    ramp = np.zeros((240, 320, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = np.arange(240)[:, None], np.arange(320) // 2
    random = np.random.default_rng(4)
    for _ in range(50):
        part = region(Image.fromarray(ramp), random, least=0.3, most=0.6)
        assert 0.3 * 320 - 1 <= part.width <= 0.6 * 320 + 1
        assert 0.3 * 240 - 1 <= part.height <= 0.75 * 240 + 1
        pixels = np.asarray(part)
        assert (np.diff(pixels[:, 0, 0].astype(int)) == 1).all(), "neighbouring rows of the photo"


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_is_an_rgb_picture_of_its_own(name: str) -> None:
    copy = VARIANTS[name](PHOTO, OTHER, np.random.default_rng(5))
    assert copy.mode == "RGB"
    assert (copy.size, copy.tobytes()) != (PHOTO.size, PHOTO.tobytes())


def test_a_crop_keeps_the_middle_and_a_corner_a_corner() -> None:
    crop = VARIANTS["cropped by 20 % a side"](PHOTO, OTHER, np.random.default_rng(6))
    assert crop.size == (192, 144)
    np.testing.assert_array_equal(np.asarray(crop), np.asarray(PHOTO)[48:192, 64:256])
    corner = VARIANTS["corner of 75 %"](PHOTO, OTHER, np.random.default_rng(6))
    assert corner.size == (240, 180)


def test_drawings_differ_by_their_random_numbers_alone() -> None:
    one, same = (drawing(np.random.default_rng(7)).tobytes() for _ in range(2))
    assert one == same
    assert one != drawing(np.random.default_rng(8)).tobytes()
