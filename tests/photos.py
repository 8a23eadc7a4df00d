"""Real photos: the public-domain portrait that scikit-image carries, and a developer's own where they are present."""

from __future__ import annotations

import importlib.resources
import io
import os
import re
from collections import defaultdict
from pathlib import Path

from PIL import Image

from tests.running_service import ROOT

# Photos beside a checkout, never part of it. LIKENESS_TEST_PHOTOS names another folder of the same layout.
PHOTOS = Path(os.environ.get("LIKENESS_TEST_PHOTOS", ROOT.parent / "shared" / "photos"))


def skimage_photo(name: str) -> Image.Image:
    """A photo of scikit-image's wheel; the package itself is not imported."""
    data = importlib.resources.files("skimage").joinpath("data", name).read_bytes()
    return Image.open(io.BytesIO(data)).convert("RGB")


def astronaut() -> Image.Image:
    """Eileen Collins, 512×512, NASA, public domain: one face."""
    return skimage_photo("astronaut.png")


def people() -> dict[str, list[Path]]:
    """Photos by person: ``people/<person>-<anything>``."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted((PHOTOS / "people").glob("*")):
        # "partial" photos and other variants carry the person's name in front too.
        person = re.sub(r"(-partial)?-[^-]+$", "", path.stem)
        found[person].append(path)
    return dict(found)
