"""The same photos through the library ``face_recognition``, where it is installed."""

from __future__ import annotations

import importlib
import importlib.util
import io
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

NAME = "face_recognition"


def is_installed() -> bool:
    """Whether it can be measured here."""
    return importlib.util.find_spec(NAME) is not None


def seconds_per_image(files: Sequence[bytes]) -> list[float]:
    """What each image takes from its bytes to its faces' embeddings, in this process, as its README shows it."""
    library: Any = importlib.import_module(NAME)
    times = []
    for file in files:
        started = time.perf_counter()
        pixels = np.asarray(Image.open(io.BytesIO(file)).convert("RGB"))
        library.face_encodings(pixels, library.face_locations(pixels))
        times.append(time.perf_counter() - started)
    return times
