"""How often a threshold errs: rates of false and of true matches, and how far they can be trusted.

The words are those of ISO/IEC 19795-1: the false match rate (FMR) is the share of pairs of different identities at or
over a threshold, the true match rate (here TPR, one minus the false non-match rate) that of pairs of the same one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from app.services.pair_scores import ScoreCounts

PERCENTS = (1, 5, 25, 75, 95, 99)
BINS = 40  # of 0.025 each
_STEPS = 20  # thresholds of the table: 0.05, 0.10, … 0.95
_CURVE_POINTS = 200
_Z = 1.959964  # of a two-sided 95 % interval
# Where nothing was seen among n trials, a rate of 3/n would have shown with 95 % certainty (Hanley and Lippman-Hand,
# If Nothing Goes Wrong, Is Everything All Right?, JAMA 249, 1983).
_RULE_OF_THREE = 3


@dataclass(frozen=True, slots=True)
class Rate:
    """A share of pairs.

    Attributes:
        matches: pairs at or over the threshold.
        rate: their share.
        interval: where the true share lies with 95 % confidence, if pairs were independent of each other.
    """

    matches: int
    rate: float
    interval: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Rates:
    """What a threshold does.

    Attributes:
        threshold: a score.
        false: of pairs of different identities.
        true: of pairs of the same identity.
    """

    threshold: float
    false: Rate
    true: Rate


@dataclass(frozen=True, slots=True)
class WantedRate:
    """The threshold for a wanted false match rate.

    Attributes:
        rate: the rate that is wanted.
        reliable: whether there are pairs enough to show so low a rate.
        found: the lowest threshold whose false match rate is not higher; none where even a score of 1 is given to more.
    """

    rate: float
    reliable: bool
    found: Rates | None


@dataclass(frozen=True, slots=True)
class Distribution:
    """Scores of one kind of pairs.

    Attributes:
        pairs: their number.
        mean: the mean score.
        median: the median score.
        percentiles: scores, in the order of ``PERCENTS``.
        histogram: pairs in 40 bins of 0.025 each.
    """

    pairs: int
    mean: float
    median: float
    percentiles: tuple[float, ...]
    histogram: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """What is known of a group's scores.

    Attributes:
        same: scores of pairs of the same identity.
        different: scores of pairs of different identities.
        thresholds: rates at 0.05, 0.10, … 0.95 and at the default threshold, in order.
        wanted: in the order in which they were asked for.
        curve: threshold, false match rate and true match rate, in 200 equal steps of the threshold.
    """

    same: Distribution
    different: Distribution
    thresholds: tuple[Rates, ...]
    wanted: tuple[WantedRate, ...]
    curve: tuple[tuple[float, float, float], ...]


def error_rates(
    same: ScoreCounts, different: ScoreCounts, *, wanted: Sequence[float], default_threshold: float
) -> ErrorRates:
    """Rates of two kinds of pairs, at least one of each.

    Args:
        same: scores of pairs of the same identity.
        different: scores of pairs of different identities.
        wanted: false match rates in (0, 1).
        default_threshold: a threshold to tell of besides the round ones.
    """

    def at(threshold: float) -> Rates:
        return Rates(threshold, _rate(different, threshold), _rate(same, threshold))

    def for_rate(rate: float) -> WantedRate:
        threshold = different.lowest_threshold(rate)
        reliable = rate >= _RULE_OF_THREE / different.pairs
        return WantedRate(rate, reliable, None if threshold is None else at(threshold))

    steps = {step / _STEPS for step in range(1, _STEPS)} | {default_threshold}
    curve = [at(step / _CURVE_POINTS) for step in range(_CURVE_POINTS + 1)]
    return ErrorRates(
        same=_distribution(same),
        different=_distribution(different),
        thresholds=tuple(at(threshold) for threshold in sorted(steps)),
        wanted=tuple(for_rate(rate) for rate in wanted),
        curve=tuple((each.threshold, each.false.rate, each.true.rate) for each in curve),
    )


def wilson(matches: int, pairs: int) -> tuple[float, float]:
    """The 95 % interval of a share (Wilson, Probable Inference, the Law of Succession, JASA 22, 1927)."""
    share, square = matches / pairs, _Z * _Z / pairs
    middle = share + square / 2
    width = _Z * math.sqrt(share * (1 - share) / pairs + square / (4 * pairs))
    low, high = (middle - width) / (1 + square), (middle + width) / (1 + square)
    # Exactly 0 and 1 at the ends, where rounding would leave a little.
    return (max(0.0, low) if matches else 0.0, min(1.0, high) if matches < pairs else 1.0)


def _rate(counts: ScoreCounts, threshold: float) -> Rate:
    matches = counts.at_or_over(threshold)
    return Rate(matches, matches / counts.pairs, wilson(matches, counts.pairs))


def _distribution(counts: ScoreCounts) -> Distribution:
    return Distribution(
        pairs=counts.pairs,
        mean=counts.mean(),
        median=counts.percentile(50),
        percentiles=tuple(counts.percentile(percent) for percent in PERCENTS),
        histogram=tuple(counts.histogram(BINS)),
    )
