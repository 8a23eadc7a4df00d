"""Turns the head of a portrait: a relief of an average head is rotated and what it shows is moved with it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.training.alterations import Random
from app.training.portrait import POINTS, SIDE, Portrait

CENTRE: Final = (149.5, 136.0)
"""Middle of the head in a portrait, (x, y) in pixels from the edge."""

RADII: Final = (62.0, 88.0)
"""Half of the head's width and height; it is about as deep as wide."""

SQUARENESS: Final = 3.0
"""Exponent of the outline, |x|^e + |y|^e = 1: more than an ellipse's 2."""

NOSE: Final = 15.0
"""How far the tip of the nose stands out of that shape, in pixels."""


def _relief() -> NDArray[np.float64]:
    """Depth of an average head at each pixel, FP64 [300,300]; 0 outside of its outline."""
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    across, down = (columns - CENTRE[0]) / RADII[0], (rows - CENTRE[1]) / RADII[1]
    widths = np.clip(1 - np.abs(down) ** SQUARENESS, 0, 1) ** (1 / SQUARENESS)
    head = RADII[0] * np.sqrt(np.clip(widths**2 - across**2, 0, 1))
    tip = POINTS[2]
    length = np.where(rows < tip[1], 14.0, 5.0)  # it rises slowly from the brow and ends under the tip
    nose = np.exp(-0.5 * (((columns - tip[0]) / 8) ** 2 + ((rows - tip[1]) / length) ** 2))
    return np.where(head > 0, head + NOSE * nose, 0.0)


def yawed(portrait: Portrait, random: Random, *, least: float, most: float) -> Portrait:
    """The head turned to either side by an angle between these, in degrees."""
    return turned(portrait, random.uniform(least, most) * random.choice([-1, 1]), random)


def pitched(portrait: Portrait, random: Random, *, least: float, most: float) -> Portrait:
    """The head raised or lowered by an angle between these, in degrees."""
    return _transposed(turned(_transposed(portrait), random.uniform(least, most) * random.choice([-1, 1]), random, 1))


def turned(portrait: Portrait, degrees: float, random: Random, axis: int = 0) -> Portrait:
    """Turns a head along the pixels' rows.

    Args:
        portrait: upright, or transposed.
        degrees: the angle; positive moves the nose to higher columns.
        random: how far the landmarks follow: detectors place them nearer to a frontal face's than they are.
        axis: of the head that the rows run along: 1 where the portrait is transposed.
    """
    relief = _relief() if axis == 0 else _relief().T
    angle = math.radians(degrees)
    columns = np.arange(SIDE, dtype=np.float64) + 0.5 - CENTRE[axis]
    moved = columns * math.cos(angle) + relief * math.sin(angle)
    source = np.stack([_sources(columns, row, inside > 0, angle) for row, inside in zip(moved, relief, strict=True)])
    source = np.clip(source + CENTRE[axis] - 0.5, 0, SIDE - 1.001)
    left = np.floor(source).astype(int)
    share = (source - left)[..., None]
    pixels = portrait.pixels.astype(np.float64)
    near, far = (np.take_along_axis(pixels, (left + step)[..., None], 1) for step in (0, 1))
    landmarks = portrait.landmarks.copy()
    places = np.floor(landmarks).astype(int)
    shifts = moved[places[:, 1], places[:, 0]] - columns[places[:, 0]]
    landmarks[:, 0] += shifts * random.uniform(0.4, 1)
    return replace(portrait, pixels=np.round(near * (1 - share) + far * share).astype(np.uint8), landmarks=landmarks)


def _sources(
    columns: NDArray[np.float64], moved: NDArray[np.float64], inside: NDArray[np.bool_], angle: float
) -> NDArray[np.float64]:
    """From which column each column of one row comes, all counted from the head's middle.

    Args:
        columns: FP64 [W].
        moved: where they go, FP64 [W].
        inside: whether they are of the head, BOOL [W].
        angle: in radians.
    """
    if inside.sum() < 3:
        return columns
    if angle < 0:
        return -_sources(-columns[::-1], -moved[::-1], inside[::-1], -angle)[::-1]
    start, seen = columns[inside], moved[inside]
    # What lies behind something that has already gone as far is hidden: the far cheek, and what the nose covers.
    before = np.concatenate([[-np.inf], np.maximum.accumulate(seen)[:-1]])
    shown = seen > before
    result = np.interp(columns, seen[shown], start[shown])
    # The side that comes to light was not photographed: its neighbourhood is mirrored.
    result = np.where(columns < seen[0], start[0] + (seen[0] - columns), result)
    outside = (columns < start[0]) | (columns > seen.max())
    return np.where(outside, columns, result)


def _transposed(portrait: Portrait) -> Portrait:
    return replace(
        portrait,
        pixels=np.ascontiguousarray(portrait.pixels.transpose(1, 0, 2)),
        landmarks=np.ascontiguousarray(portrait.landmarks[:, ::-1]),
    )
