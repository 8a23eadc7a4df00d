"""Judges a quality model: what it says of made samples, and of faces as they were photographed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.catalogue.roles import QualityClass
from app.training.faces import TrainingFace
from app.training.quality_samples import KINDS, Kind

CLASSES = tuple(QualityClass)


def labels(kinds: NDArray[np.int64]) -> NDArray[np.int64]:
    """The class that each sample's kind shall get, INT64 [N]; -1 where none is right or wrong."""
    return np.asarray([_label(kind) for kind in KINDS.values()], np.int64)[kinds]


def _label(kind: Kind) -> int:
    return -1 if kind.label is None else CLASSES.index(kind.label)


def of_samples(probabilities: NDArray[np.float32], kinds: NDArray[np.int64]) -> dict[str, Any]:
    """Figures of made samples, ready for JSON.

    Args:
        probabilities: FP32 [N,C].
        kinds: INT64 [N].
    """
    wanted, said = labels(kinds), probabilities.argmax(1)
    judged = wanted >= 0
    confusion = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    np.add.at(confusion, (wanted[judged], said[judged]), 1)
    recalls = confusion.diagonal() / np.maximum(confusion.sum(1), 1)
    return {
        "samples": int(judged.sum()),
        "accuracy": round(float((wanted == said)[judged].mean()), 4),
        "recall": {name.value: round(float(recall), 3) for name, recall in zip(CLASSES, recalls, strict=True)},
        "confusion": {
            "rows": "what was made, in the order clear, blur, cover, pose",
            "columns": "what the model says, in the same order",
            "counts": confusion.tolist(),
        },
        "kinds": {
            name: {
                "shall_be": kind.label.value if kind.label else "not judged",
                "said": _shares(said[kinds == number]),
            }
            for number, (name, kind) in enumerate(KINDS.items())
            if (kinds == number).any()
        },
    }


def of_photographed(probabilities: NDArray[np.float32], faces: Sequence[TrainingFace]) -> dict[str, Any]:
    """What is said of untouched faces, and which are not called clear."""
    said = probabilities.argmax(1)
    return {
        "faces": len(said),
        "said": {name.value: int((said == number).sum()) for number, name in enumerate(CLASSES)},
        "not_clear": [
            {
                "photo": faces[number].photo,
                "box": [round(value) for value in faces[number].found.box],
                "said": CLASSES[said[number]].value,
                "probability": round(float(probabilities[number].max()), 2),
            }
            for number in np.flatnonzero(said != CLASSES.index(QualityClass.CLEAR)).tolist()
        ],
    }


def _shares(said: NDArray[np.int64]) -> dict[str, float]:
    return {name.value: round(float((said == number).mean()), 3) for number, name in enumerate(CLASSES)}
