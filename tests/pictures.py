"""Pictures that the tests draw themselves."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from tests.running_service import data_uri


def drawing(seed: int, *, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A picture of coloured shapes, another one for every seed."""
    random = np.random.default_rng(seed)
    image = Image.new("RGB", size, tuple(int(value) for value in random.integers(0, 256, 3)))
    pen = ImageDraw.Draw(image)
    for _ in range(14):
        x, y = (int(random.integers(0, side)) for side in size)
        width, height = (int(random.integers(20, side // 2)) for side in size)
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        draw = pen.ellipse if random.random() < 0.5 else pen.rectangle
        draw((x - width // 2, y - height // 2, x + width // 2, y + height // 2), fill=colour)
    return image


def encoded(image: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    """The bytes of a file of the picture."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def drawing_uri(seed: int) -> str:
    """A data URI of a drawing."""
    return data_uri(encoded(drawing(seed), quality=90))


def pixels(image: Image.Image) -> NDArray[np.uint8]:
    """UINT8 RGB [H, W, 3]."""
    return np.asarray(image.convert("RGB"))
