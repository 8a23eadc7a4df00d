"""How far the outputs of a model move when it is computed in another way, in the terms in which each output is used."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.catalogue.roles import BOXES, EMBEDDING, LANDMARKS, QUALITY, SCORES, Role

Outputs = Mapping[str, NDArray[Any]]

_THRESHOLD: Final = 0.5
"""Score from which a candidate counts as a face; the detector's own."""


def differences(role: Role, reference: Outputs, other: Outputs) -> dict[str, float]:
    """What moved, by its name.

    Args:
        role: of the model.
        reference: the outputs of a batch.
        other: those of the same batch, computed in another way.
    """
    return _OF[role](reference, other)


def _embeddings(reference: Outputs, other: Outputs) -> dict[str, float]:
    before, after = (np.asarray(each[EMBEDDING], np.float64) for each in (reference, other))
    moved = np.linalg.norm(before - after, axis=1)
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    cosines = np.sum(before * after, axis=1) / lengths
    return {"L2, largest": moved.max(), "L2, mean": moved.mean(), "cosine, least": cosines.min()}


def _quality(reference: Outputs, other: Outputs) -> dict[str, float]:
    before, after = reference[QUALITY], other[QUALITY]
    changed = np.count_nonzero(before.argmax(axis=1) != after.argmax(axis=1))
    return {"probability, largest": float(np.abs(before - after).max()), "other classes": float(changed)}


def _candidates(reference: Outputs, other: Outputs) -> dict[str, float]:
    """Each candidate that counts is held against the nearest one: equal scores may have changed places."""
    scores, boxes, landmarks = [], [], []
    for number, seen in enumerate(reference[SCORES]):
        for place in np.flatnonzero(seen >= _THRESHOLD):
            apart = np.abs(other[BOXES][number] - reference[BOXES][number, place]).max(axis=1)
            nearest = int(apart.argmin())
            boxes.append(float(apart[nearest]))
            scores.append(abs(float(other[SCORES][number, nearest]) - float(seen[place])))
            points = other[LANDMARKS][number, nearest] - reference[LANDMARKS][number, place]
            landmarks.append(float(np.abs(points).max()))
    return {
        "candidates": float(len(boxes)),
        "candidates there": float(np.count_nonzero(other[SCORES] >= _THRESHOLD)),
        "score, largest": max(scores, default=0.0),
        "box, largest (pixels)": max(boxes, default=0.0),
        "box, mean": float(np.mean(boxes)) if boxes else 0.0,
        "landmark, largest": max(landmarks, default=0.0),
        "landmark, mean": float(np.mean(landmarks)) if landmarks else 0.0,
    }


_OF: Final[Mapping[Role, Callable[[Outputs, Outputs], dict[str, float]]]] = {
    Role.FACE_DETECTOR: _candidates,
    Role.FACE_QUALITY: _quality,
    Role.FACE_EMBEDDER: _embeddings,
    Role.IMAGE_EMBEDDER: _embeddings,
}
