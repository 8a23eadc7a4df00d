"""Small pictures in every accepted format, made in memory."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from tests.heic_picture import TURNED_HEIC


@pytest.fixture
def saved() -> Callable[..., bytes]:
    """Saves an image to bytes: ``saved(image, "PNG", **options)``."""

    def save(image: Image.Image, kind: str, **options: object) -> bytes:
        buffer = io.BytesIO()
        image.save(buffer, kind, **options)
        return buffer.getvalue()

    return save


@pytest.fixture
def quadrants() -> Image.Image:
    """64×48 pixels: red and green above blue and yellow."""
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:24, :32] = (255, 0, 0)
    pixels[:24, 32:] = (0, 255, 0)
    pixels[24:, :32] = (0, 0, 255)
    pixels[24:, 32:] = (250, 250, 10)
    return Image.fromarray(pixels)


@pytest.fixture
def heic() -> bytes:
    """The quadrants as HEIC, to be seen turned as by EXIF orientation 6."""
    return base64.b64decode(TURNED_HEIC)


@pytest.fixture
def files(saved: Callable[..., bytes], quadrants: Image.Image, heic: bytes) -> dict[str, bytes]:
    """The quadrants in each accepted format, lossless where there is a choice."""
    return {
        "JPEG": saved(quadrants, "JPEG", quality=95, subsampling=0),
        "PNG": saved(quadrants, "PNG"),
        "WebP": saved(quadrants, "WEBP", lossless=True),
        "GIF": saved(quadrants, "GIF"),
        "BMP": saved(quadrants, "BMP"),
        "TIFF": saved(quadrants, "TIFF"),
        "AVIF": saved(quadrants, "AVIF", quality=95, subsampling="4:4:4"),
        "HEIC": heic,
    }
