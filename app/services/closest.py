"""The closest pairs between two sets of embeddings: an exact product in blocks, with memory that does not grow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.services.distances import squared_distances
from app.store.records import Metric

_ROWS = 1024
_COLUMNS = 4096  # a tile of this size takes 16 MiB
_PAIRS = 16_384  # measured again together: 32 MiB at 128 dimensions


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Embeddings of some rows.

    Attributes:
        ids: their ids, N of them.
        vectors: float32 [N, D], none of them zero.
        points: float32 [N, D], where squared distances are those that the metric ranks by: of unit length for cosine.
        squares: float32 [N], the points' squared lengths.
    """

    ids: list[str]
    vectors: NDArray[np.float32]
    points: NDArray[np.float32]
    squares: NDArray[np.float32]

    @classmethod
    def of(cls, ids: list[str], vectors: NDArray[np.float32], metric: Metric) -> Block:
        """Makes a block of embeddings."""
        points = vectors
        if metric is Metric.COSINE:
            points = (vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)).astype(np.float32)
        return cls(ids, vectors, points, np.einsum("nd,nd->n", points, points))


class Closest:
    """The closest others of each row of one block, kept while blocks of others pass by.

    Squared distances come from ``|a|² + |b|² - 2ab`` in single precision; every pair that may count within its
    rounding error is measured again in double precision from the difference of the embeddings themselves.

    Args:
        rows: the block.
        metric: how embeddings are compared.
        bound: largest L2 distance, or least cosine similarity, inclusive.
        limit: most others of one row.
    """

    def __init__(self, rows: Block, metric: Metric, *, bound: float, limit: int) -> None:
        self._rows = rows
        self._metric = metric
        self._limit = limit
        self._bound = bound if metric is Metric.L2 else -bound
        # Squared distance beyond which no other counts: the bound's, then that of the last of ``limit`` others.
        square = (bound * bound if bound >= 0 else -1.0) if metric is Metric.L2 else 2 - 2 * bound
        self._cut = np.full(len(rows.ids), square)
        self._seen = 0
        self._kept_rows = np.empty(0, np.int64)
        self._kept_others = np.empty(0, np.int64)
        self._kept_orders = np.empty(0, np.float64)

    def pass_by(self, others: Block, *, skip_same_ids: bool) -> None:
        """Looks at further others.

        Args:
            others: the next block; all blocks in the order of their ids.
            skip_same_ids: whether a row is not its own other: both are of one group.
        """
        positions = {name: column for column, name in enumerate(others.ids)} if skip_same_ids else {}
        own = np.array([positions.get(name, -1) for name in self._rows.ids])
        for top in range(0, len(self._rows.ids), _ROWS):
            for left in range(0, len(others.ids), _COLUMNS):
                self._tile(others, slice(top, top + _ROWS), slice(left, left + _COLUMNS), own)
        self._seen += len(others.ids)

    def pairs(self) -> list[tuple[int, int, float]]:
        """What was kept: the row's position, the other's position among all that passed by, and their measure.

        Rows come in their order, the closest others of each first, ties in the order of the others.
        """
        sign = 1.0 if self._metric is Metric.L2 else -1.0
        measures = (sign * self._kept_orders).tolist()
        return list(zip(self._kept_rows.tolist(), self._kept_others.tolist(), measures, strict=True))

    def _tile(self, others: Block, rows: slice, columns: slice, own: NDArray[np.int64]) -> None:
        points, row_squares = self._rows.points[rows], self._rows.squares[rows]
        other_points, other_squares = others.points[columns], others.squares[columns]
        squares = squared_distances(points, row_squares, other_points, other_squares)
        # More than its rounding error with that of its terms, which is (1.5 D + 2) eps of the squared lengths (Higham,
        # Accuracy and Stability, section 3.1).
        error = 4 * points.shape[1] * np.finfo(np.float32).eps * (row_squares + other_squares.max())
        here = own[rows] - columns.start
        inside = (here >= 0) & (here < squares.shape[1])
        squares[np.flatnonzero(inside), here[inside]] = np.inf
        candidates = squares <= (self._cut[rows] + error).astype(np.float32)[:, np.newaxis]
        if squares.shape[1] > self._limit:
            crowded = np.flatnonzero(np.count_nonzero(candidates, axis=1) > self._limit)
            nearest = np.partition(squares[crowded], self._limit - 1, axis=1)[:, self._limit - 1]
            candidates[crowded] &= squares[crowded] <= (nearest + 2 * error[crowded])[:, np.newaxis]
        candidates[np.flatnonzero(inside), here[inside]] = False
        # Several times as fast as np.nonzero on two axes.
        found_rows, found_columns = np.divmod(np.flatnonzero(candidates), candidates.shape[1])
        if len(found_rows):
            self._keep(others, found_rows + rows.start, found_columns + columns.start)

    def _keep(self, others: Block, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> None:
        orders = self._orders(others, rows, columns)
        near = orders <= self._bound
        all_rows = np.concatenate([self._kept_rows, rows[near]])
        all_others = np.concatenate([self._kept_others, columns[near] + self._seen])
        all_orders = np.concatenate([self._kept_orders, orders[near]])
        sequence = np.lexsort((all_others, all_orders, all_rows))
        all_rows = all_rows[sequence]
        starts = np.searchsorted(all_rows, all_rows)
        best = np.arange(len(all_rows)) - starts < self._limit
        chosen = sequence[best]
        self._kept_rows, self._kept_others = all_rows[best], all_others[chosen]
        self._kept_orders = all_orders[chosen]
        last = np.arange(len(self._kept_rows)) - np.searchsorted(self._kept_rows, self._kept_rows) == self._limit - 1
        farthest = self._kept_orders[last]
        square = farthest**2 if self._metric is Metric.L2 else 2 + 2 * farthest
        self._cut[self._kept_rows[last]] = square

    def _orders(self, others: Block, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        """The distance, or the negative similarity, of pairs: the smaller, the closer."""
        orders = np.empty(len(rows), np.float64)
        for start in range(0, len(rows), _PAIRS):
            part = slice(start, start + _PAIRS)
            ones = self._rows.vectors[rows[part]].astype(np.float64)
            twos = others.vectors[columns[part]].astype(np.float64)
            if self._metric is Metric.L2:
                orders[part] = np.linalg.norm(ones - twos, axis=1)
            else:
                lengths = np.linalg.norm(ones, axis=1) * np.linalg.norm(twos, axis=1)
                orders[part] = -np.clip(np.einsum("nd,nd->n", ones, twos) / lengths, -1.0, 1.0)
        return orders
