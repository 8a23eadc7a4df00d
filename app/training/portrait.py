"""A face in the making of a sample: pixels around it, landmarks that move with them, and the chip cut in the end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.catalogue.models import DLIB_TEMPLATE
from app.training.alterations import Random, compressed
from app.vision.alignment import cut, similarity_transform
from app.vision.homography import homogeneous

CHIP_SIDE: Final = 150
"""Side of the chip that the models see, in pixels."""

SIDE: Final = 300
"""Side of a portrait in the same pixels; the chip is its centre, so that changes come before the last cut."""

CHIP_POINTS: Final = np.asarray(DLIB_TEMPLATE) + 0.5
"""Where landmarks lie in a chip, FP64 [5,2], counted from pixel edges."""

POINTS: Final = CHIP_POINTS + (SIDE - CHIP_SIDE) / 2
"""Where they lie in a portrait."""

FACE_WIDTH: Final = 117
"""Width of a usual face's box in a portrait, in pixels."""

LEAST_WIDTH: Final = 48
"""Samples show faces as small as this in their photo, in pixels of the box's width: they may be clear."""

LANDMARK_NOISE: Final = 1.2
"""Standard deviation, in the chip's pixels, of a detector's landmarks."""


@dataclass(frozen=True, slots=True)
class Portrait:
    """A face and what is around it.

    Attributes:
        pixels: UINT8 RGB [300,300,3].
        landmarks: FP64 [5,2] in these pixels, counted from pixel edges.
        width: of the face's box in its photo, in the photo's pixels: how much detail there can be.
    """

    pixels: NDArray[np.uint8]
    landmarks: NDArray[np.float64]
    width: float

    @classmethod
    def cut_out(cls, photo: NDArray[np.uint8], landmarks: NDArray[np.float32], width: float) -> Portrait:
        """A face as it is on a photo, UINT8 RGB [H,W,3]."""
        to_photo = homogeneous(similarity_transform(POINTS, landmarks.astype(np.float64)))
        return cls(cut(photo, to_photo, SIDE), POINTS, width)

    def showing(self, image: Image.Image) -> Portrait:
        """The same face with other pixels."""
        return replace(self, pixels=np.asarray(image))


def chip(portrait: Portrait, random: Random) -> NDArray[np.uint8]:
    """Cuts out what a model sees, with the differences that photos of one face have.

    Light, colour, noise, the size at which it was photographed, JPEG, the detector's landmarks, and left for right.

    Returns:
        UINT8 RGB [150,150,3].
    """
    image = _relit(Image.fromarray(portrait.pixels), random)
    least = min(1.0, LEAST_WIDTH / min(portrait.width, FACE_WIDTH))
    scale = random.uniform(least, 1) if random.random() < 0.5 else 1.0
    side = round(SIDE * scale)
    image = image.resize((side, side), Image.Resampling.BILINEAR)
    if random.random() < 0.5:
        image = _noisy(image, random)
    if random.random() < 0.6:
        image = compressed(image, int(random.integers(45, 96)))
    landmarks = portrait.landmarks * side / SIDE
    landmarks = landmarks + random.normal(0, LANDMARK_NOISE * side / SIDE, landmarks.shape)
    pixels = cut(np.asarray(image), homogeneous(similarity_transform(CHIP_POINTS, landmarks)), CHIP_SIDE)
    return np.ascontiguousarray(pixels[:, ::-1]) if random.random() < 0.5 else pixels


def _relit(image: Image.Image, random: Random) -> Image.Image:
    """Gamma, contrast and brightness, then a cast or no colour at all."""
    levels = (np.arange(256) / 255) ** float(np.exp(random.normal(0, 0.2))) * 255
    levels = (levels - 128) * random.uniform(0.7, 1.15) + 128 + random.normal(0, 15)
    table = np.clip(np.round(levels * random.normal(1, 0.05, (3, 1))), 0, 255).astype(np.uint8)
    image = image.point(table.ravel().tolist())
    return image.convert("L").convert("RGB") if random.random() < 0.1 else image


def _noisy(image: Image.Image, random: Random) -> Image.Image:
    noise = random.normal(0, random.uniform(1, 6), (image.height, image.width, 3))
    return Image.fromarray(np.clip(np.round(np.asarray(image) + noise), 0, 255).astype(np.uint8))
