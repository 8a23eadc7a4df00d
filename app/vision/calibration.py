"""Turns an embedding metric into a score in [0, 1], and a threshold on the score back into a bound on the metric."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

# Scores are given with six decimals: a model's output differs in the seventh from batch to batch.
_DECIMALS = 6
# The whole numbers from 0 to this, divided by it, are all scores that there are.
SCORE_STEPS = 1_000_000
# So much a score may have gained by rounding.
_ROUNDED = 0.5 * 10**-_DECIMALS
# Searched bounds are this much wider than the threshold's exact inverse; the score decides in the end.
_SLACK = 1e-5


class Calibration(Protocol):
    """A monotone map between a metric and a score."""

    def score(self, measure: float) -> float:
        """The score of a metric's value, rounded to six decimals."""

    def steps(self, measures: NDArray[np.float64]) -> NDArray[np.int32]:
        """The scores of many values, of the same shape, in millionths."""

    def bound(self, threshold: float) -> float:
        """The metric's value from which scores reach the threshold, slightly widened."""


@dataclass(frozen=True, slots=True)
class SigmoidOfDistance:
    """``score = 1 / (1 + exp(-(slope · (midpoint - distance) + offset)))`` for an L2 distance."""

    slope: float
    midpoint: float
    offset: float

    def score(self, measure: float) -> float:
        """The score of a distance."""
        exponent = self.slope * (self.midpoint - measure) + self.offset
        # Both branches keep exp() from overflowing.
        value = 1 / (1 + math.exp(-exponent)) if exponent >= 0 else math.exp(exponent) / (1 + math.exp(exponent))
        return round(value, _DECIMALS)

    def steps(self, measures: NDArray[np.float64]) -> NDArray[np.int32]:
        """The scores of many distances, in millionths."""
        values = measures * self.slope
        values -= self.slope * self.midpoint + self.offset
        with np.errstate(over="ignore"):  # infinity is right: its score is 0
            np.exp(values, out=values)
        values += 1
        np.divide(SCORE_STEPS, values, out=values)
        return np.rint(values, out=values).astype(np.int32)

    def bound(self, threshold: float) -> float:
        """The largest distance whose score reaches the threshold; infinite for 0, negative where none does."""
        if threshold <= 0:
            return math.inf
        least = threshold - _ROUNDED
        if least >= 1 - _ROUNDED:
            return -1.0
        if least <= 0:
            return math.inf
        logit = math.log(least / (1 - least))
        return self.midpoint - (logit - self.offset) / self.slope + _SLACK


@dataclass(frozen=True, slots=True)
class PowerOfCosine:
    """``score = max(0, (cosine - floor) / (1 - floor)) ** exponent`` for a cosine similarity."""

    floor: float
    exponent: float

    def score(self, measure: float) -> float:
        """The score of a cosine similarity."""
        above = max(0.0, (measure - self.floor) / (1 - self.floor))
        return round(math.pow(min(1.0, above), self.exponent), _DECIMALS)

    def steps(self, measures: NDArray[np.float64]) -> NDArray[np.int32]:
        """The scores of many cosine similarities, in millionths."""
        values = (measures - self.floor) / (1 - self.floor)
        np.power(np.clip(values, 0.0, 1.0, out=values), self.exponent, out=values)
        values *= SCORE_STEPS
        return np.rint(values, out=values).astype(np.int32)

    def bound(self, threshold: float) -> float:
        """The smallest similarity whose score reaches the threshold; minus one for 0."""
        least = threshold - _ROUNDED
        if least <= 0:
            return -1.0
        return self.floor + (1 - self.floor) * math.pow(least, 1 / self.exponent) - _SLACK


def calibration(parameters: Mapping[str, Any]) -> Calibration:
    """Makes a calibration from a model's parameters: ``kind`` (``sigmoid`` or ``power``) and its numbers.

    Raises:
        ValueError: the kind is unknown or a number is missing.
    """
    numbers = {name: float(value) for name, value in parameters.items() if name != "kind"}
    kinds: dict[str, type[SigmoidOfDistance | PowerOfCosine]] = {"sigmoid": SigmoidOfDistance, "power": PowerOfCosine}
    kind = parameters.get("kind")
    if kind not in kinds:
        message = f"unknown calibration kind {kind!r}"
        raise ValueError(message)
    try:
        return kinds[kind](**numbers)
    except TypeError as error:
        message = f"calibration {kind!r} lacks or does not know one of {sorted(numbers)}"
        raise ValueError(message) from error
