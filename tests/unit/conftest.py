"""Small pictures in every accepted format, made in memory."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

# The quadrants of 64×48 pixels, stored with the turn of orientation 6. No encoder for HEIC is among the dependencies.
_TURNED_HEIC = (
    "AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9jAA"
    "AAAERAAAIAAQAAAAAB7AABAAAAAAAAASwAAgAAAAADGAABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAAABVp"
    "bmZlAgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGE"
    "ABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq5Ka5uAhoMCAAAAMDIAAAAwAhYgABAAZEAcFzwIkA"
    "AAATY29scm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAAQAAAAEAAAAAoY2xhcAAAAEAAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEH"
    "BpeGkAAAAAAwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEAAQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAAVhtZGF0AAAB"
    "KCgBrwT42/Lolrf9Gdf//yt/v/49ty33LILwH4yRpfw55//oO6nhHFL1PSV2Gf+sFVlGDK0G5K87+K4lPcbMVS5SndrctasEkWQXz2mnCyMBFa"
    "Dz0y4UoHfvH9m4TE73Tpbyc0oDybcyP85P//33r//viL+tc3AxLvu2+/7Qd9epIlGPVNVvuJFf4Dthb3b3YF3/aIO560cIcnnMmbP0jVfTBCck"
    "mZ6TmS7Vl2hH7A025dILLMrDJ3oWkqGHBB8si82JxLOZDov3pzabfaIpklWZWdE617TIK7JBSU19BeQ9TeTFWdrhNDw/t8dm77x4UJBAits7yN"
    "QKwwiEFqzl4viPdu+WVE8Sytm6VdQ9NxYm+3fc/cWxP/RJ4M3APfc+HQLAAjs1JlKAAAAABkV4aWYAAE1NACoAAAAIAAEBEgADAAAAAQAGAAAA"
    "AAAA"
)


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
    return base64.b64decode(_TURNED_HEIC)


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
