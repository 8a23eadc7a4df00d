"""The scores of all pairs of rows, counted one by one, with memory that does not grow with their number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.services.distances import measures_between
from app.store.records import Metric
from app.vision.calibration import SCORE_STEPS, Calibration

_ROWS = 1024  # a tile of this many rows and columns takes 8 MiB


class ScoreCounts:
    """How many pairs have each score: with six decimals there are 1,000,001, so that nothing is lost to bins.

    Args:
        counts: int64 [1,000,001], of the scores 0, 0.000001, … 1; not all zero.
    """

    def __init__(self, counts: NDArray[np.int64]) -> None:
        self._counts = counts
        self._up_to = np.cumsum(counts)
        self.pairs = int(self._up_to[-1])

    def at_or_over(self, threshold: float) -> int:
        """Pairs whose score is at least the threshold, in [0, 1]."""
        step = _first_step(threshold)
        return self.pairs - (int(self._up_to[step - 1]) if step else 0)

    def mean(self) -> float:
        """The mean score."""
        sum_of_steps = float(self._counts @ np.arange(SCORE_STEPS + 1, dtype=np.float64))
        return sum_of_steps / (self.pairs * SCORE_STEPS)

    def percentile(self, percent: int) -> float:
        """The lowest score that at least so many per cent of the pairs do not exceed."""
        needed = max(1, -(-percent * self.pairs // 100))
        return _score(int(np.searchsorted(self._up_to, needed)))

    def histogram(self, bins: int) -> list[int]:
        """Pairs in bins of equal width over [0, 1], each with its lower edge, the last one with both.

        Args:
            bins: a divisor of 1,000,000.
        """
        sums = self._counts[:-1].reshape(bins, -1).sum(axis=1)
        sums[-1] += self._counts[-1]
        return [int(number) for number in sums]

    def lowest_threshold(self, share: float) -> float | None:
        """The lowest threshold that at most this share of the pairs reaches; none where even 1 is reached by more."""
        reaching = self.pairs - self._up_to + self._counts
        within = np.flatnonzero(reaching / self.pairs <= share)
        return _score(int(within[0])) if len(within) else None


def _score(step: int) -> float:
    return step / SCORE_STEPS


def _first_step(threshold: float) -> int:
    """The number of the lowest score that reaches the threshold."""
    step = round(threshold * SCORE_STEPS)
    return step + (_score(step) < threshold)


class PairScores:
    """Counts the scores of all pairs of rows, those of one identity apart from those of two.

    Args:
        vectors: float32 [N, D], none of them zero.
        identities: int32 [N], the number of each row's identity.
        metric: how embeddings are compared.
        scale: turns what the metric measures into a score.
    """

    def __init__(
        self, vectors: NDArray[np.float32], identities: NDArray[np.int32], metric: Metric, scale: Calibration
    ) -> None:
        self._vectors = vectors
        self._identities = identities
        self._metric = metric
        self._scale = scale
        self._all = np.zeros(SCORE_STEPS + 1, np.int64)
        self._same = np.zeros(SCORE_STEPS + 1, np.int64)

    @property
    def blocks(self) -> int:
        """Into how many pieces the work is cut."""
        return -(-len(self._vectors) // _ROWS)

    def count(self, block: int) -> None:
        """Counts the pairs of one block's rows with each other and with all rows after them; each block once."""
        rows = slice(block * _ROWS, (block + 1) * _ROWS)
        for left in range(block * _ROWS, len(self._vectors), _ROWS):
            self._tile(rows, slice(left, left + _ROWS))

    def same(self) -> ScoreCounts:
        """Of the pairs of one identity, once all blocks are counted."""
        return ScoreCounts(self._same)

    def different(self) -> ScoreCounts:
        """Of the pairs of two identities, once all blocks are counted."""
        return ScoreCounts(self._all - self._same)

    def _tile(self, rows: slice, columns: slice) -> None:
        steps = self._scale.steps(measures_between(self._metric, self._vectors[rows], self._vectors[columns]))
        same = self._identities[rows, np.newaxis] == self._identities[columns]
        if rows == columns:  # each pair once, and no row with itself
            later = np.triu(np.ones(steps.shape, np.bool_), 1)
            steps, same = steps[later], same[later]
        self._all += np.bincount(steps.ravel(), minlength=SCORE_STEPS + 1)
        alike = steps[same]
        if len(alike):
            self._same += np.bincount(alike, minlength=SCORE_STEPS + 1)
