"""Composes the photos that are searched: one face or eight, of 640 pixels or of 12 megapixels."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

SIZES = {"640": (640, 480), "12mp": (4000, 3000)}

_KINDS = {".jpg", ".jpeg", ".png"}
_QUALITY = 90
# Enlarged photos are smoother than a camera's: grain of this deviation gives them a camera's number of bytes.
_GRAIN = 3.0
_GRAIN_SIDE = 500
_COLUMNS, _ROWS = 4, 2


@dataclass(frozen=True, slots=True)
class Scene:
    """What photos are like.

    Attributes:
        size: ``640`` or ``12mp``.
        faces: how many faces each shows.
    """

    size: str
    faces: int

    def __str__(self) -> str:
        return f"{self.size}, {self.faces} face{'s' if self.faces > 1 else ''}"


def compose(folder: Path, scene: Scene, count: int, faces_in: Callable[[bytes], int], *, seed: int = 1) -> list[bytes]:
    """So many JPEG files of a scene.

    Args:
        folder: photos of one person each, in its folder ``people`` or in itself.
        scene: what they shall be like.
        count: how many.
        faces_in: counts the faces in a file; a composition that does not show as many as wanted is thrown away.
        seed: decides which photos are used.

    Raises:
        ValueError: there are too few photos.
    """
    found: list[bytes] = []
    for attempt in _compositions(folder, scene, seed):
        if faces_in(attempt) == scene.faces:
            found.append(attempt)
        if len(found) == count:
            return found
    message = f"The photos in {folder} do not give {count} compositions ({scene}): name a folder with more portraits."
    raise ValueError(message)


def _compositions(folder: Path, scene: Scene, seed: int) -> Iterator[bytes]:
    people = folder / "people" if (folder / "people").is_dir() else folder
    files = sorted(file for file in people.iterdir() if file.suffix.lower() in _KINDS)
    dice = random.Random(seed)
    grain = np.random.default_rng(seed).normal(0, _GRAIN, (_GRAIN_SIDE, _GRAIN_SIDE, 1)).astype(np.float32)
    if len(files) < scene.faces:
        return
    for _ in range(200):
        chosen = dice.sample(files, scene.faces)
        yield _jpeg(_with_grain(_arranged(chosen, SIZES[scene.size]), grain))


def _arranged(files: list[Path], size: tuple[int, int]) -> Image.Image:
    columns, rows = (1, 1) if len(files) == 1 else (_COLUMNS, _ROWS)
    cell = (size[0] // columns, size[1] // rows)
    picture = Image.new("RGB", size)
    for number, file in enumerate(files):
        with Image.open(file) as opened:
            portrait = ImageOps.pad(opened.convert("RGB"), cell, Image.Resampling.BICUBIC, color=(96, 96, 96))
        picture.paste(portrait, (number % columns * cell[0], number // columns * cell[1]))
    return picture


def _with_grain(picture: Image.Image, grain: np.ndarray) -> Image.Image:
    pixels = np.asarray(picture)
    up, across = (-(-side // _GRAIN_SIDE) for side in pixels.shape[:2])
    tiled = np.tile(grain, (up, across, 1))[: pixels.shape[0], : pixels.shape[1]]
    return Image.fromarray(np.clip(pixels + tiled, 0, 255).astype(np.uint8))


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
