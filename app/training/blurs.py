"""Blurs a portrait: out of focus, shaken, or softened."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from app.training.alterations import Random
from app.training.portrait import SIDE, Portrait

LARGEST_KERNEL: Final = 35
FOURIER_SIDE: Final = 360
"""Room for a portrait and the largest kernel's border on both sides; small factors make the transform fast."""


def softened(portrait: Portrait, random: Random, *, least: float, most: float) -> Portrait:
    """A Gaussian blur whose standard deviation, in the chip's pixels, lies between these."""
    blur = ImageFilter.GaussianBlur(random.uniform(least, most))
    return portrait.showing(Image.fromarray(portrait.pixels).filter(blur))


def defocused(portrait: Portrait, random: Random) -> Portrait:
    """A disc of radius 5 to 10, as a lens makes it of a point that is out of focus."""
    radius = random.uniform(5, 10)
    side = 2 * int(np.ceil(radius)) + 1
    rows, columns = np.mgrid[:side, :side] - side // 2
    return _convolved(portrait, np.clip(radius + 0.5 - np.hypot(rows, columns), 0, 1))


def shaken(portrait: Portrait, random: Random) -> Portrait:
    """A line of 12 to 28 pixels in any direction, bent a little: what a moving camera makes of a point."""
    length, angle, bend = random.uniform(12, 28), random.uniform(0, np.pi), random.normal(0, 0.12)
    along = np.linspace(-0.5, 0.5, 9) * length
    across = bend * length * (1 - (2 * along / length) ** 2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    path = (turn @ np.stack([along, across])).T
    finer = 4
    side = LARGEST_KERNEL
    canvas = Image.new("L", (side * finer, side * finer))
    points = [(x, y) for x, y in (path - path.mean(0)) * finer + side * finer / 2]
    ImageDraw.Draw(canvas).line(points, fill=255, width=finer * 2, joint="curve")
    return _convolved(portrait, np.asarray(canvas.resize((side, side), Image.Resampling.BOX), np.float64))


def _convolved(portrait: Portrait, kernel: NDArray[np.float64]) -> Portrait:
    """Convolves with a kernel [k,k], k odd, brought to sum 1; the border is continued by mirroring."""
    margin = kernel.shape[0] // 2
    padded = np.pad(portrait.pixels.astype(np.float64), ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    size = (FOURIER_SIDE, FOURIER_SIDE)
    spectrum = np.fft.rfft2(padded, size, axes=(0, 1)) * np.fft.rfft2(kernel / kernel.sum(), size)[..., None]
    blurred = np.fft.irfft2(spectrum, size, axes=(0, 1))[2 * margin : 2 * margin + SIDE, 2 * margin : 2 * margin + SIDE]
    return portrait.showing(Image.fromarray(np.clip(np.round(blurred), 0, 255).astype(np.uint8)))
