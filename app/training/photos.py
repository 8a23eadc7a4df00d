"""The photos to train on: read, named by checksum, and without those that show the same as another."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.errors import LikenessError, OperatorError
from app.vision.decode import decode

LONG_SIDE: Final = 640
"""Pixels to which larger photos are scaled: twice what the image descriptor looks at any crop of them with."""

SHORT_SIDE: Final = 96
"""Photos with a shorter side are left out."""

MAX_PIXELS: Final = 64_000_000
THUMBNAIL: Final = 16
ALIKE: Final = 0.98
"""Correlation of two 16×16 thumbnails from which the photos are one and the same, saved twice."""


@dataclass(frozen=True, slots=True)
class Photo:
    """One photo.

    Attributes:
        name: of its file.
        sha256: checksum of its file.
        image: RGB, upright.
    """

    name: str
    sha256: str
    image: Image.Image


def read_photos(paths: Sequence[Path], *, say: Callable[[str], None], long_side: int = LONG_SIDE) -> list[Photo]:
    """Reads image files, and all of a folder, in the order of their names.

    Args:
        paths: files and folders; what is no image is passed over with a line.
        say: takes one line at a time.
        long_side: pixels to which larger photos are scaled.

    Raises:
        OperatorError: a path cannot be read.
    """
    photos: list[Photo] = []
    thumbnails: list[NDArray[np.float64]] = []
    for path in _files(paths):
        photo = _read(path, long_side)
        if photo is None:
            say(f"{path.name} is no photo that can be used")
            continue
        thumbnail = _thumbnail(photo.image)
        twin = next(
            (one.name for one, seen in zip(photos, thumbnails, strict=True) if float(seen @ thumbnail) >= ALIKE), None
        )
        if twin is not None:
            say(f"{path.name} shows the same as {twin} and is left out")
            continue
        photos.append(photo)
        thumbnails.append(thumbnail)
    return photos


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(file for file in path.rglob("*") if file.is_file())
        else:
            yield path


def _read(path: Path, long_side: int) -> Photo | None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{path} cannot be read ({error.strerror}).") from error
    try:
        image = Image.fromarray(decode(content, max_pixels=MAX_PIXELS))
    except LikenessError:
        return None
    if min(image.size) < SHORT_SIDE:
        return None
    image.thumbnail((long_side, long_side), Image.Resampling.BOX)
    return Photo(path.name, hashlib.sha256(content).hexdigest(), image)


def _thumbnail(image: Image.Image) -> NDArray[np.float64]:
    small = np.asarray(image.resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX), np.float64).ravel()
    centred = small - small.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-9))
