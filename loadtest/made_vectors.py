"""Made embeddings for trials of size: some that lie as faces do, and some that lie as nothing in the world does.

*persons*: each person is a point, most of whose variance lies in a few dozen directions, and has a geometric number of
photos around it; two photos of a person are on average half as far apart as those of two persons, which is what dlib's
ResNet gives (0.4 and 0.8). A query is one more photo of somebody who is there.

*isotropic*: independent normal numbers, and queries likewise. The nearest row is hardly nearer than the thousandth, so
no graph leads to it: the worst case for an approximate index, which embeddings of a trained model never come near.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KINDS = ("persons", "isotropic")
_PHOTOS = 8  # of a person, on average
_DIRECTIONS = 24.0  # the variance of direction i falls as exp(-i / 24)
_WITHIN = 0.577  # spread within a person to spread of persons: distances 1 to 2
_BLOCK = 100_000


@dataclass(frozen=True, slots=True)
class Made:
    """Rows float32 [N, D] and queries float32 [Q, D]."""

    vectors: NDArray[np.float32]
    queries: NDArray[np.float32]


def made(kind: str, rows: int, queries: int, dimension: int) -> Made:
    """The same numbers for the same arguments."""
    random = np.random.default_rng([rows, KINDS.index(kind)])
    if kind == "isotropic":
        both = random.standard_normal((rows + queries, dimension), np.float32)
        return Made(both[:rows], both[rows:])
    spectrum = np.exp(-np.arange(dimension) / _DIRECTIONS / 2).astype(np.float32)
    spectrum /= np.linalg.norm(spectrum)
    photos = random.geometric(1 / _PHOTOS, 2 * rows // _PHOTOS + 100)
    owner = np.repeat(np.arange(len(photos)), photos)[:rows]
    random.shuffle(owner)
    persons = random.standard_normal((len(photos), dimension), np.float32) * spectrum
    vectors = persons[owner]
    for start in range(0, rows, _BLOCK):
        part = vectors[start : start + _BLOCK]
        part += random.standard_normal(part.shape, np.float32) * (_WITHIN * spectrum)
    asked = persons[random.choice(owner, queries)]
    asked += random.standard_normal(asked.shape, np.float32) * (_WITHIN * spectrum)
    return Made(vectors, asked)


def nearest(vectors: NDArray[np.float32], queries: NDArray[np.float32], hits: int) -> NDArray[np.int64]:
    """The numbers [Q, hits] of the rows nearest to each query, by the exact product in blocks."""
    best = np.full((len(queries), hits), np.inf)
    numbers = np.zeros((len(queries), hits), np.int64)
    for start in range(0, len(vectors), _BLOCK):
        part = vectors[start : start + _BLOCK]
        distances = np.einsum("nd,nd->n", part, part, dtype=np.float64) - 2 * (queries @ part.T).astype(np.float64)
        together = np.concatenate([best, distances], axis=1)
        names = np.concatenate([numbers, np.tile(np.arange(start, start + len(part)), (len(queries), 1))], axis=1)
        chosen = np.argpartition(together, hits, axis=1)[:, :hits]
        best, numbers = np.take_along_axis(together, chosen, 1), np.take_along_axis(names, chosen, 1)
    return numbers


def recall(found: list[list[str]], exact: NDArray[np.int64]) -> float:
    """Which share of the nearest rows was found; ids are the rows' numbers."""
    right = [len({int(name) for name in ids} & set(row.tolist())) for ids, row in zip(found, exact, strict=True)]
    return float(np.mean(right)) / exact.shape[1]
