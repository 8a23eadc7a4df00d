"""What is laid over a portrait: fills of uneven colour, and shapes with smooth edges."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from app.training.alterations import Random
from app.training.portrait import SIDE, Portrait

FINER: Final = 3
"""Shapes are drawn so many times larger and shrunk, which smooths their edges."""

Points = NDArray[np.float64]


class Pen:
    """Draws in a portrait's pixels, white on black."""

    def __init__(self, canvas: Image.Image) -> None:
        self._pen = ImageDraw.Draw(canvas)

    def rectangle(self, corners: Points) -> None:
        """Fills the rectangle between two corners, FP64 [2,2]."""
        self._pen.rectangle(_flat(corners), fill=255)

    def ellipse(self, corners: Points) -> None:
        """Fills the ellipse in the rectangle between two corners, FP64 [2,2]."""
        self._pen.ellipse(_flat(corners), fill=255)

    def lens(self, corners: Points, *, radius: float, outline: float = 0) -> None:
        """Fills a rectangle with round corners, or draws its outline so many pixels wide."""
        box, round_by = _flat(corners), radius * FINER
        if outline:
            self._pen.rounded_rectangle(box, round_by, outline=255, width=_width(outline))
        else:
            self._pen.rounded_rectangle(box, round_by, fill=255)

    def polygon(self, points: Points) -> None:
        """Fills a polygon, FP64 [n,2]."""
        self._pen.polygon(_flat(points), fill=255)

    def line(self, points: Points, width: float) -> None:
        """Draws a line with blunt ends along points, FP64 [n,2]."""
        self._pen.line(_flat(points), fill=255, width=_width(width), joint="curve")

    def limb(self, points: Points, width: float) -> None:
        """Draws a line with round ends."""
        self.line(points, width)
        for point in points:
            self.ellipse(np.stack([point - width / 2, point + width / 2]))


def _flat(points: Points) -> list[float]:
    return [float(value) * FINER for value in points.ravel()]


def _width(pixels: float) -> int:
    return max(1, round(pixels * FINER))


def shape(draw: Callable[[Pen], None], *, opacity: float = 1.0) -> Image.Image:
    """The mask of what is drawn, in a portrait's size."""
    canvas = Image.new("L", (SIDE * FINER, SIDE * FINER))
    draw(Pen(canvas))
    mask = canvas.resize((SIDE, SIDE), Image.Resampling.BOX)
    return mask if opacity == 1 else mask.point([round(level * opacity) for level in range(256)])


def laid_on(portrait: Portrait, fill: Image.Image, mask: Image.Image) -> Portrait:
    """The portrait with ``fill`` where the mask is white."""
    return portrait.showing(Image.composite(fill, Image.fromarray(portrait.pixels), mask))


def cloth(random: Random, *, brightest: int = 256) -> Image.Image:
    """A random colour in uneven light, sometimes with stripes of another."""
    colour = random.integers(0, brightest, 3).astype(np.float64)
    if random.random() < 0.5:  # most things are not vivid
        colour = colour.mean() + (colour - colour.mean()) * 0.25
    values = np.broadcast_to(colour, (SIDE, SIDE, 3))
    if random.random() < 0.25:
        rows, columns = np.mgrid[:SIDE, :SIDE]
        angle, period = random.uniform(0, np.pi), random.uniform(4, 24)
        wave = np.sin((rows * np.sin(angle) + columns * np.cos(angle)) * 2 * np.pi / period) > 0
        values = np.where(wave[..., None], values, random.integers(0, brightest, 3))
    return lit(values, random, unevenness=0.25)


def lit(colours: Points | Sequence[float], random: Random, *, unevenness: float) -> Image.Image:
    """Colours in uneven light, with fine noise.

    Args:
        colours: [3] or [300,300,3].
        random: decides the light.
        unevenness: standard deviation of the light, whose mean is 1.
    """
    lights = Image.fromarray(random.normal(1, unevenness, (5, 5)).astype(np.float32))
    light = np.asarray(lights.resize((SIDE, SIDE), Image.Resampling.BICUBIC))[..., None]
    values = np.asarray(colours) * light + random.normal(0, 2.5, (SIDE, SIDE, 1))
    return Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))
