"""A calibration's answer as text for a terminal."""

from __future__ import annotations

import math
from collections.abc import Iterator

from app.api.calibration_schemas import GroupCalibration, ScoreDistribution, ThresholdRates, WantedRate

_BAR = 16  # characters of the longest bar


def calibration_text(group: str, answer: GroupCalibration) -> str:
    """Everything but the plot: the scope, the scores, the thresholds, and what cannot be trusted."""
    return "\n".join(
        [
            *_scope(group, answer),
            "",
            *_scores(answer),
            "",
            f"{'threshold':>9}  {'FMR, 95 % interval':>28}  {'TPR, 95 % interval':>26}",
            *(_line(rates, default=answer.default_threshold) for rates in answer.thresholds),
            "",
            f"{'wanted FMR':>10}  {'threshold':>9}  {'FMR, 95 % interval':>28}  {'TPR, 95 % interval':>26}",
            *map(_wanted, answer.wanted),
            *_warnings(answer),
        ]
    )


def _scope(group: str, answer: GroupCalibration) -> Iterator[str]:
    yield f"Group {group}, model {answer.model}: {answer.rows:,} images of {answer.identities:,} identities"
    if answer.sampled:
        yield f"A sample of the group's {answer.count:,} images, the same every time."
    if answer.left_out:
        yield f"{answer.left_out:,} of {answer.count:,} images have no identity and are left out."
    for name, scores in (("different", answer.different), ("same", answer.same)):
        percentiles = scores.percentiles
        yield (
            f"{name:>9}: {scores.pairs:,} pairs, median {scores.median:.3f}, "
            f"1 % under {percentiles['1']:.3f}, 1 % over {percentiles['99']:.3f}"
        )


def _scores(answer: GroupCalibration) -> Iterator[str]:
    """A histogram of 20 bins; bars are logarithmic, so that a single pair is seen."""
    yield f"{'score':<11}  {'different':>11} {'':<{_BAR}}  {'same':>11}"
    different, same = _coarse(answer.different), _coarse(answer.same)
    most = max(*different, *same)
    for number, (of_different, of_same) in enumerate(zip(different, same, strict=True)):
        bins = f"{number / 20:.2f}–{(number + 1) / 20:.2f}"
        bars = _bar(of_different, most), _bar(of_same, most)
        yield f"{bins:<11}  {of_different:>11,} {bars[0]:<{_BAR}}  {of_same:>11,} {bars[1]}".rstrip()


def _coarse(scores: ScoreDistribution) -> list[int]:
    pairs = iter(scores.histogram)
    return [one + other for one, other in zip(pairs, pairs, strict=True)]


def _bar(pairs: int, most: int) -> str:
    return "█" * math.ceil(_BAR * math.log1p(pairs) / math.log1p(most))


def _line(rates: ThresholdRates, *, default: float) -> str:
    mark = "  default" if rates.threshold == default else ""
    return f"{rates.threshold:>9g}  {_rates(rates)}{mark}"


def _wanted(wanted: WantedRate) -> str:
    rate = f"{f'{wanted.fmr * 100:g} %':>10}"
    if wanted.found is None:
        return f"{rate}  {'none':>9}  more pairs of different identities than that have a score of 1"
    mark = "" if wanted.reliable else "  *"
    return f"{rate}  {wanted.found.threshold:>9.6f}  {_rates(wanted.found)}{mark}"


def _rates(rates: ThresholdRates) -> str:
    false = f"{_percent(rates.fmr)} ({_percent(rates.fmr_interval[0])} – {_percent(rates.fmr_interval[1])})"
    true = f"{rates.tpr:.1%} ({rates.tpr_interval[0]:.1%} – {rates.tpr_interval[1]:.1%})".replace("%", " %")
    return f"{false:>28}  {true:>26}"


def _percent(share: float) -> str:
    """Per cent with two significant digits: false match rates reach over many powers of ten."""
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", " %")
    decimals = max(0, 1 - math.floor(math.log10(share * 100)))
    return f"{share * 100:.{decimals}f} %"


def _warnings(answer: GroupCalibration) -> Iterator[str]:
    yield ""
    if not all(wanted.reliable for wanted in answer.wanted):
        yield (
            f"* {answer.different.pairs:,} pairs of different identities cannot show a rate under "
            f"{_percent(3 / answer.different.pairs)}: trust it only after a calibration with more images."
        )
    yield "FMR: pairs of different identities at or over the threshold. TPR: pairs of the same identity."
    yield "Each image is in many pairs, so the true intervals are wider; they hold for images like those of the group."
