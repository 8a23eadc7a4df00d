"""Judges a descriptor: is the original found first, does its score reach the threshold, how often does a stranger's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.training.samples import Floats, Trial


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one trial.

    Attributes:
        found: for each variant BOOL [P], whether the photo's own original came first.
        cosines: for each variant FP32 [P], of the copy and its original.
        photo_pairs: FP32, cosines of all pairs of different photos.
        other_pairs: FP32, cosines of all pairs of photos and regions that are of different photos, without those.
        gallery: pictures among which each original had to be found, itself included; the fewest of any photo.
    """

    found: dict[str, NDArray[np.bool_]]
    cosines: dict[str, Floats]
    photo_pairs: Floats
    other_pairs: Floats
    gallery: int


def judge(trial: Trial) -> Outcome:
    """Searches every variant in a gallery of all originals, drawings and regions of other photos.

    Args:
        trial: of embeddings of length 1.
    """
    count = len(trial.originals)
    gallery = np.concatenate([trial.originals, trial.regions, trial.drawings])
    owners = np.concatenate([np.full(count, -1), trial.owners, np.full(len(trial.drawings), -1)])
    own_regions = owners == np.arange(count)[:, None]  # [P,G]: a part of the very photo is no distractor
    found: dict[str, NDArray[np.bool_]] = {}
    cosines: dict[str, Floats] = {}
    for name, queries in trial.variants.items():
        similar = np.where(own_regions, -1, queries @ gallery.T)
        found[name] = similar.argmax(1) == np.arange(count)
        cosines[name] = similar[np.arange(count), np.arange(count)].astype(np.float32)

    pictures = gallery[: count + len(trial.regions)]
    photos = np.concatenate([np.arange(count), trial.owners])
    similar = pictures @ pictures.T
    different = np.triu(photos[:, None] != photos)
    of_photos = np.zeros_like(different)
    of_photos[:count, :count] = True
    return Outcome(
        found,
        cosines,
        similar[different & of_photos],
        similar[different & ~of_photos],
        int(len(gallery) - own_regions.sum(1).max()),
    )


def summary(outcomes: Sequence[Outcome], cosine: float) -> dict[str, Any]:
    """The figures of all trials together, ready for JSON.

    Args:
        outcomes: of trials with photos of their own.
        cosine: the similarity at which the recommended threshold lies.
    """
    variants = {}
    for name in outcomes[0].found:
        found = np.concatenate([outcome.found[name] for outcome in outcomes])
        similar = np.concatenate([outcome.cosines[name] for outcome in outcomes])
        variants[name] = {
            "recall_at_1": round(float(found.mean()), 3),
            "over_threshold": round(float((similar >= cosine).mean()), 3),
            "median_cosine": round(float(np.median(similar)), 3),
        }
    return {
        "photos": sum(len(outcome.found[name]) for outcome in outcomes),
        "gallery_at_least": min(outcome.gallery for outcome in outcomes),
        "mean_recall_at_1": round(float(np.mean([row["recall_at_1"] for row in variants.values()])), 3),
        "mean_over_threshold": round(float(np.mean([row["over_threshold"] for row in variants.values()])), 3),
        "variants": variants,
        "false_matches": {
            "photos": _rate([outcome.photo_pairs for outcome in outcomes], cosine),
            "photos_and_regions": _rate([outcome.other_pairs for outcome in outcomes], cosine),
        },
    }


def _rate(pairs: Sequence[Floats], cosine: float) -> dict[str, float]:
    similar = np.concatenate(pairs)
    return {
        "pairs": len(similar),
        "rate": float(f"{(similar >= cosine).mean():.2g}"),
        "cosine_at_1e-4": round(float(np.quantile(similar, 1 - 1e-4)), 3),
    }
