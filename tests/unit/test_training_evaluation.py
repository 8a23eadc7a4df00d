"""Judging: what counts as found, what is no distractor, and which pairs are of strangers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from app.training.evaluation import judge, summary
from app.training.samples import Trial

AXES = np.eye(6, dtype=np.float32)


def between(one: int, other: int, share: float) -> NDArray[np.float32]:
    """A vector of length 1 whose cosine with axis ``one`` is ``share``; the rest goes to axis ``other``."""
    return np.asarray(share * AXES[one] + np.sqrt(1 - share**2) * AXES[other], np.float32)


def trial(queries: list[NDArray[np.float32]]) -> Trial:
    """Two originals on axes 0 and 1; a region of each near axes 2 and 3; a drawing on axis 4."""
    return Trial(
        AXES[:2], np.stack([between(0, 2, 0.5), AXES[3]]), np.array([0, 1]), AXES[4:5], {"copy": np.stack(queries)}
    )


def test_the_original_must_come_before_drawings_and_regions_of_other_photos() -> None:
    assert judge(trial([between(0, 5, 0.9), between(1, 4, 0.9)])).found["copy"].tolist() == [True, True]
    assert judge(trial([between(0, 4, 0.6), between(1, 3, 0.6)])).found["copy"].tolist() == [False, True]
    assert judge(trial([between(0, 3, 0.6), between(1, 0, 0.6)])).found["copy"].tolist() == [False, False]


def test_a_region_of_the_very_photo_is_no_distractor() -> None:
    outcome = judge(trial([between(0, 2, 0.5), AXES[1]]))
    assert outcome.found["copy"].tolist() == [True, True]
    assert outcome.gallery == 4


def test_pairs_are_of_different_photos_and_each_counts_once() -> None:
    outcome = judge(trial([AXES[0], AXES[1]]))
    assert outcome.photo_pairs.tolist() == [0.0]
    assert len(outcome.other_pairs) == 3, "each region and the other photo; the two regions"


def test_figures_of_several_trials_are_taken_together() -> None:
    outcomes = [judge(trial([between(0, 5, 0.9), between(1, 5, 0.2)])), judge(trial([AXES[0], between(1, 4, 0.6)]))]
    told = summary(outcomes, 0.5)
    assert (told["photos"], told["gallery_at_least"]) == (4, 4)
    assert told["variants"]["copy"] == {
        "recall_at_1": 0.75, "over_threshold": 0.75, "median_cosine": pytest.approx(0.75),
    }  # fmt: skip
    assert told["false_matches"]["photos"] == {"pairs": 2, "rate": 0.0, "cosine_at_1e-4": 0.0}
    assert told["false_matches"]["photos_and_regions"]["pairs"] == 6
