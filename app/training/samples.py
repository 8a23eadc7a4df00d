"""Makes all copies of all photos and keeps their features: what is fitted to, and what is judged by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.training.alterations import Random, altered, region
from app.training.features import ImageRunner
from app.training.photos import Photo
from app.training.variants import VARIANTS, drawing

FOLDS: Final = 5
PHOTO_COPIES: Final = 25
REGIONS: Final = 8
"""Parts of each photo that are classes of their own: a part of a photo is another picture."""

REGION_COPIES: Final = 6
REGION_SIDE: Final = 48
REGION_CONTRAST: Final = 12.0
"""Regions with a shorter side or a smaller standard deviation (of 255) show nothing and are left out."""

TRAINING_DRAWINGS: Final = 160
"""Drawn pictures that are trained on besides: photos alone leave flat graphics too much alike."""

DRAWING_COPIES: Final = 12

DISTRACTORS: Final = 24
"""Regions of each photo among which the originals of other photos have to be found."""

DRAWINGS: Final = 560
"""Drawn pictures among which originals have to be found; others than those trained on."""

NO_PHOTO: Final = -1

_TRAINING, _JUDGING, _DRAWING, _FOLDING, _TRAINING_DRAWING = range(5)

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Training:
    """What is fitted to: features FP32 [N,F], the class and the photo (-1: a drawing) of each row."""

    features: Floats
    classes: NDArray[np.int64]
    photos: NDArray[np.int64]

    def only(self, chosen: NDArray[np.bool_]) -> Training:
        """The rows of these photos and of all drawings, their classes numbered anew."""
        rows = (self.photos == NO_PHOTO) | chosen[self.photos]
        return Training(self.features[rows], np.unique(self.classes[rows], return_inverse=True)[1], self.photos[rows])


@dataclass(frozen=True, slots=True)
class Trial:
    """What is judged by, of one set of photos.

    Attributes:
        originals: FP32 [P,F].
        regions: FP32 [R,F].
        owners: INT64 [R]: whose region each is.
        drawings: FP32 [D,F].
        variants: for each variant FP32 [P,F], in the order of the originals.
    """

    originals: Floats
    regions: Floats
    owners: NDArray[np.int64]
    drawings: Floats
    variants: dict[str, Floats]

    def only(self, chosen: NDArray[np.bool_]) -> Trial:
        """The same of these photos only; drawings stay."""
        numbers = np.cumsum(chosen) - 1
        kept = chosen[self.owners]
        return Trial(
            self.originals[chosen],
            self.regions[kept],
            numbers[self.owners[kept]],
            self.drawings,
            {name: rows[chosen] for name, rows in self.variants.items()},
        )

    def through(self, embed: Callable[[Floats], Floats]) -> Trial:
        """The same, embedded."""
        return Trial(
            embed(self.originals),
            embed(self.regions),
            self.owners,
            embed(self.drawings),
            {name: embed(rows) for name, rows in self.variants.items()},
        )


def folds(count: int, seed: int) -> NDArray[np.int64]:
    """To which of the five parts each photo belongs: INT64 [count]."""
    places = np.random.default_rng([seed, _FOLDING]).permutation(count)
    return np.asarray(places % FOLDS, np.int64)


def gather_training(photos: Sequence[Photo], runner: ImageRunner, seed: int, say: Callable[[str], None]) -> Training:
    """Makes the altered copies to train on: every photo, eight regions of it and the drawings, each a class."""
    parts = folds(len(photos), seed)
    features: list[Floats] = []
    owners: list[int] = []
    sizes: list[int] = []
    for number, photo in enumerate(photos):
        random = np.random.default_rng([seed, _TRAINING, number])
        others = partial(_other, photos, parts, number, random)
        cut = _regions(photo.image, random, REGIONS)
        copies = _copies(photo.image, PHOTO_COPIES, others, random)
        for part in cut:
            copies += _copies(part, REGION_COPIES, others, random)
        features.append(runner.run([runner.pixels(copy) for copy in copies]))
        owners += [number] * len(copies)
        sizes += [PHOTO_COPIES + 1] + [REGION_COPIES + 1] * len(cut)
        _progress(number, len(photos), "training copies", say)
    random = np.random.default_rng([seed, _TRAINING_DRAWING])
    for _ in range(TRAINING_DRAWINGS):
        copies = _copies(drawing(random), DRAWING_COPIES, partial(drawing, random), random)
        features.append(runner.run([runner.pixels(copy) for copy in copies]))
        owners += [NO_PHOTO] * len(copies)
        sizes.append(len(copies))
    classes = np.repeat(np.arange(len(sizes)), sizes)
    return Training(np.concatenate(features), classes, np.asarray(owners, np.int64))


def gather_trial(photos: Sequence[Photo], runner: ImageRunner, seed: int, say: Callable[[str], None]) -> Trial:
    """Makes every variant of every photo, the distracting regions and the drawings."""
    parts = folds(len(photos), seed)
    variants: list[Floats] = []
    regions: list[Floats] = []
    owners: list[int] = []
    for number, photo in enumerate(photos):
        random = np.random.default_rng([seed, _JUDGING, number])
        cut = _regions(photo.image, random, DISTRACTORS)
        regions.append(runner.run([runner.pixels(part) for part in (*cut, photo.image)]))
        owners += [number] * len(cut)
        copies = [make(photo.image, _other(photos, parts, number, random), random) for make in VARIANTS.values()]
        variants.append(runner.run([runner.pixels(copy) for copy in copies]))
        _progress(number, len(photos), "variants", say)
    random = np.random.default_rng([seed, _DRAWING])
    return Trial(
        np.stack([rows[-1] for rows in regions]),
        np.concatenate([rows[:-1] for rows in regions]),
        np.asarray(owners, np.int64),
        runner.run([runner.pixels(drawing(random)) for _ in range(DRAWINGS)]),
        dict(zip(VARIANTS, np.stack(variants, axis=1), strict=True)),
    )


def _copies(picture: Image.Image, count: int, others: Callable[[], Image.Image], random: Random) -> list[Image.Image]:
    """The picture and so many altered copies of it."""
    return [picture, *(altered(picture, others(), random) for _ in range(count))]


def _regions(image: Image.Image, random: Random, count: int) -> list[Image.Image]:
    parts = [region(image, random, least=0.3, most=0.6) for _ in range(count)]
    return [part for part in parts if min(part.size) >= REGION_SIDE and np.asarray(part).std() >= REGION_CONTRAST]


def _other(photos: Sequence[Photo], parts: NDArray[np.int64], number: int, random: Random) -> Image.Image:
    """Another photo of the same part: no copy shows what another part is judged by."""
    same = np.flatnonzero(parts == parts[number])
    return photos[int(random.choice(same[same != number]))].image


def _progress(number: int, count: int, what: str, say: Callable[[str], None]) -> None:
    if (number + 1) % 20 == 0 or number + 1 == count:
        say(f"{what}: {number + 1} of {count} photos")
