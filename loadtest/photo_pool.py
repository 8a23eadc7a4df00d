"""The photos that the users of a load test send: drawn ones, or a folder's, as data URIs made before they start."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

_ROOT = Path(__file__).resolve().parent.parent
_SHARED = _ROOT.parent / "shared" / "photos"
_EXAMPLES = _ROOT / "docs" / "examples"
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic"}
_SIZE = (640, 480)
_SHAPES = 16


@dataclass(frozen=True, slots=True)
class Photo:
    """A photo's name and its data URI."""

    name: str
    uri: str


def drawn(count: int) -> list[Photo]:
    """Pictures of coloured shapes, no two alike, the same ones in every run."""
    return [Photo(f"drawn-{seed}", _uri(_jpeg(_drawing(seed)))) for seed in range(count)]


def of_folder(folder: Path) -> list[Photo]:
    """The photos in a folder and its folders, by name.

    Raises:
        ValueError: there are none.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not files:
        raise ValueError(f"There are no photos in {folder}: name a folder that has some, --photos FOLDER.")
    return [Photo(path.relative_to(folder).as_posix(), _uri(path.read_bytes())) for path in files]


def usual_folder() -> Path:
    """Photos beside the checkout where there are any, else the two of the documentation."""
    return _SHARED if _SHARED.is_dir() else _EXAMPLES


def _drawing(seed: int) -> Image.Image:
    random = np.random.default_rng(seed)
    image = Image.new("RGB", _SIZE, tuple(int(value) for value in random.integers(0, 256, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(_SHAPES):
        left, top = (int(random.integers(-50, side - 30)) for side in _SIZE)
        width, height = (int(random.integers(40, side // 2)) for side in _SIZE)
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        draw = pen.ellipse if random.random() < 0.5 else pen.rectangle
        draw((left, top, left + width, top + height), fill=colour)
    return image


def _jpeg(image: Image.Image) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=90)
    return out.getvalue()


def _uri(data: bytes) -> str:
    return f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"
