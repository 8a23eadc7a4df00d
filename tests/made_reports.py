"""Calibration reports of made-up scores."""

from __future__ import annotations

import numpy as np

from app.services.calibrate import CalibrationReport
from app.services.error_rates import error_rates
from app.services.pair_scores import ScoreCounts


def counts_of(scores: list[float]) -> ScoreCounts:
    return ScoreCounts(np.bincount([round(score * 1_000_000) for score in scores], minlength=1_000_001))


def report_of(
    same: list[float],
    different: list[float],
    *,
    wanted: tuple[float, ...] = (0.1, 0.001),
    model: str = "made",
    default: float = 0.45,
    sampled: bool = False,
) -> CalibrationReport:
    rates = error_rates(counts_of(same), counts_of(different), wanted=wanted, default_threshold=default)
    return CalibrationReport(model, 1200, 2, 80, 16, sampled, default, rates)


def overlapping(*, wanted: tuple[float, ...] = (0.1, 0.001)) -> CalibrationReport:
    """Scores of 300 pairs of the same identity and 3000 of different ones, as a face model gives them."""
    random = np.random.default_rng(5)
    return report_of(random.beta(8, 1.5, 300).tolist(), random.beta(0.9, 12, 3000).tolist(), wanted=wanted)
