"""Fits an image into a detector's input: scaled, then padded at the bottom and the right."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.vision.homography import Matrix
from app.vision.quarters import turned_back


@dataclass(frozen=True, slots=True, eq=False)
class Letterbox:
    """A detector's input and the way back.

    Attributes:
        pixels: UINT8 RGB [H, W, 3], both sides a multiple of the detector's.
        scale_x: input pixels per image pixel, horizontally in the image.
        scale_y: the same, vertically (rounding the sides makes them differ slightly).
        quarters: quarter turns, counter-clockwise, by which the input is turned against the image.
    """

    pixels: NDArray[np.uint8]
    scale_x: float
    scale_y: float
    quarters: int = 0

    def turned(self, quarters: int) -> Letterbox:
        """The same, turned further."""
        pixels = np.ascontiguousarray(np.rot90(self.pixels, quarters))
        return Letterbox(pixels, self.scale_x, self.scale_y, (self.quarters + quarters) % 4)

    def rescaled(self, scale: tuple[float, float]) -> Letterbox:
        """The same, as the input of an image of which only a smaller one was there.

        Args:
            scale: what the smaller one has of each of its pixels, horizontally and vertically.
        """
        assert not self.quarters, "scale first, then turn"
        return Letterbox(self.pixels, self.scale_x * scale[0], self.scale_y * scale[1])

    def smaller(self, *, long_side: int, multiple: int) -> Letterbox:
        """An unturned one scaled down further, for a look that needs no detail."""
        assert not self.quarters, "scale first, then turn"
        small = letterbox(self.pixels, long_side=long_side, multiple=multiple)
        return Letterbox(small.pixels, small.scale_x * self.scale_x, small.scale_y * self.scale_y)

    def to_image(self, points: NDArray[np.floating]) -> Matrix:
        """Points [n, 2] of the input, as (x, y), in pixels of the image."""
        height, width = np.rot90(self.pixels, -self.quarters).shape[:2]
        return np.asarray(turned_back(points, self.quarters, width, height) / [self.scale_x, self.scale_y])


def fits(image: NDArray[np.uint8], *, long_side: int, multiple: int) -> bool:
    """Whether ``letterbox`` returns the image as it is, which takes no time."""
    sides = image.shape[:2]
    return max(sides) == long_side and not any(side % multiple for side in sides)


def letterbox(image: NDArray[np.uint8], *, long_side: int, multiple: int) -> Letterbox:
    """Scales an image so that its long side is ``long_side`` and pads both sides to a ``multiple`` with black.

    Small images are enlarged: faces in them come to the sizes that a detector knows.

    Args:
        image: UINT8 RGB [H, W, 3].
        long_side: wanted long side, in pixels.
        multiple: what both sides of the result are a multiple of.
    """
    height, width = image.shape[:2]
    scale = long_side / max(height, width)
    new_width, new_height = max(1, round(width * scale)), max(1, round(height * scale))
    pixels = image
    # Each copy is left out where it would change nothing: pixels of the right size go to the detector as they are.
    if (new_width, new_height) != (width, height):
        # Bilinear with Pillow's support scaling is an area filter when it shrinks: no aliasing.
        # reducing_gap first drops whole blocks of pixels, which is several times faster for big photos.
        resized = Image.fromarray(image).resize((new_width, new_height), Image.Resampling.BILINEAR, reducing_gap=2.0)
        pixels = np.asarray(resized)
    padded_width, padded_height = _up(new_width, multiple), _up(new_height, multiple)
    if (padded_width, padded_height) != (new_width, new_height):
        padded = np.zeros((padded_height, padded_width, 3), np.uint8)
        padded[:new_height, :new_width] = pixels
        pixels = padded
    return Letterbox(pixels, new_width / width, new_height / height)


def squash(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Scales an image to a square, whatever its proportions, by area interpolation.

    Args:
        image: UINT8 RGB [H, W, 3].
        size: side of the square, in pixels.

    Returns:
        UINT8 RGB [size, size, 3].
    """
    return squash_image(Image.fromarray(image), size)


def squash_image(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """As ``squash``, of an image of mode RGB."""
    return np.asarray(image.resize((size, size), Image.Resampling.BOX))


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
