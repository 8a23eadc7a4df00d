"""Makes clear, blurred, covered and turned faces of photographed ones, and keeps their features."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.catalogue.roles import QualityClass
from app.training.alterations import Random
from app.training.blurs import defocused, shaken, softened
from app.training.covers import (
    behind_a_hand,
    behind_a_picture,
    behind_an_object,
    beside_an_object,
    in_dark_glasses,
    in_glasses,
    masked,
)
from app.training.faces import TrainingFace
from app.training.features import GraphRunner
from app.training.portrait import Portrait, chip
from app.training.turns import pitched, yawed

FOLDS: Final = 5

_FOLDING, _MAKING = range(2)

Make = Callable[[Portrait, Portrait, Random], Portrait]
"""Makes a sample of a face; the second one is of another face."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of samples.

    Attributes:
        label: what the model shall say of them; None for those that only show where it changes its mind.
        count: samples of each face.
        make: makes one.
    """

    label: QualityClass | None
    count: int
    make: Make


def _alone(make: Callable[[Portrait, Random], Portrait]) -> Make:
    return lambda portrait, _, random: make(portrait, random)


KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "as photographed": Kind(QualityClass.CLEAR, 10, _alone(lambda portrait, _: portrait)),
        "faint blur": Kind(QualityClass.CLEAR, 3, _alone(partial(softened, least=0.3, most=1.2))),
        "object beside the face": Kind(QualityClass.CLEAR, 4, _alone(beside_an_object)),
        "glasses": Kind(QualityClass.CLEAR, 3, _alone(in_glasses)),
        "yaw up to 12°": Kind(QualityClass.CLEAR, 3, _alone(partial(yawed, least=0, most=12))),
        "pitch up to 12°": Kind(QualityClass.CLEAR, 2, _alone(partial(pitched, least=0, most=12))),
        "soft": Kind(QualityClass.BLUR, 4, _alone(partial(softened, least=2.8, most=7))),
        "out of focus": Kind(QualityClass.BLUR, 4, _alone(defocused)),
        "shaken": Kind(QualityClass.BLUR, 4, _alone(shaken)),
        "mask": Kind(QualityClass.COVER, 3, _alone(masked)),
        "dark glasses": Kind(QualityClass.COVER, 3, _alone(in_dark_glasses)),
        "object": Kind(QualityClass.COVER, 5, _alone(behind_an_object)),
        "picture": Kind(QualityClass.COVER, 5, behind_a_picture),
        "hand": Kind(QualityClass.COVER, 3, _alone(behind_a_hand)),
        "yaw 35 to 60°": Kind(QualityClass.POSE, 9, _alone(partial(yawed, least=35, most=60))),
        "pitch 35 to 60°": Kind(QualityClass.POSE, 4, _alone(partial(pitched, least=35, most=60))),
        "yaw 20°": Kind(None, 1, _alone(partial(yawed, least=20, most=20))),
        "yaw 28°": Kind(None, 1, _alone(partial(yawed, least=28, most=28))),
        "blur of 1.5 pixels": Kind(None, 1, _alone(partial(softened, least=1.5, most=1.5))),
        "blur of 2.2 pixels": Kind(None, 1, _alone(partial(softened, least=2.2, most=2.2))),
    }
)


@dataclass(frozen=True, slots=True)
class QualitySamples:
    """Samples of all faces.

    Attributes:
        features: FP32 [N,F].
        kinds: INT64 [N], the number of each one's kind in ``KINDS``.
        faces: INT64 [N], of which face each is.
    """

    features: NDArray[np.float32]
    kinds: NDArray[np.int64]
    faces: NDArray[np.int64]

    def only(self, chosen: NDArray[np.bool_]) -> QualitySamples:
        """Those of the chosen faces, BOOL [faces]; the faces keep their numbers."""
        rows = chosen[self.faces]
        return QualitySamples(self.features[rows], self.kinds[rows], self.faces[rows])


def folds(persons: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """To which of the five parts each face belongs, INT64 [faces]: all of a person to one.

    Persons are dealt out in random order, those with most faces first, each to the part that is smallest by then.

    Args:
        persons: INT64 [faces], 0 to the number of persons - 1.
        seed: decides the order.
    """
    sizes = np.bincount(persons)
    order = np.random.default_rng([seed, _FOLDING]).permutation(len(sizes))
    parts = np.zeros(len(sizes), np.int64)
    filled = np.zeros(FOLDS, np.int64)
    for person in order[np.argsort(-sizes[order], kind="stable")]:
        parts[person] = filled.argmin()
        filled[parts[person]] += sizes[person]
    return np.asarray(parts[persons])


def gather(
    faces: Sequence[TrainingFace],
    taken: Sequence[int],
    parts: NDArray[np.int64],
    runner: GraphRunner,
    *,
    seed: int,
    say: Callable[[str], None],
) -> QualitySamples:
    """Makes all kinds of samples of some faces; pictures in front of a face show faces of its own part.

    Args:
        faces: all that were found.
        taken: numbers of those to make samples of.
        parts: INT64 [faces], the part of each.
        runner: of the graph up to the features.
        seed: decides all samples.
        say: takes one line of progress at a time.
    """
    features: list[NDArray[np.float32]] = []
    for done, number in enumerate(taken, 1):
        random = np.random.default_rng([seed, _MAKING, number])
        mates = [mate for mate in taken if parts[mate] == parts[number]]
        chips = []
        for kind in KINDS.values():
            for _ in range(kind.count):
                other = faces[mates[int(random.integers(len(mates)))]].portrait
                chips.append(chip(kind.make(faces[number].portrait, other, random), random))
        features.append(runner.run(chips))
        if done % 10 == 0 or done == len(taken):
            say(f"samples: {done} of {len(taken)} faces")
    kinds = np.repeat(np.arange(len(KINDS)), [kind.count for kind in KINDS.values()])
    return QualitySamples(np.concatenate(features), np.tile(kinds, len(taken)), np.repeat(taken, len(kinds)))
