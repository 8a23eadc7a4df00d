"""Exact distances and similarities between embeddings, as the store measures them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.store.records import Metric


def measures(metric: Metric, one: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """The L2 distance (not squared) or cosine similarity of one embedding to others, in double precision.

    Args:
        metric: which of the two.
        one: float32 [D], not zero.
        others: float32 [N, D], none of them zero.

    Returns:
        float64 [N].
    """
    point, points = one.astype(np.float64), others.astype(np.float64)
    if metric is Metric.L2:
        return np.asarray(np.linalg.norm(points - point, axis=1))
    cosines = points @ point / (np.linalg.norm(points, axis=1) * np.linalg.norm(point))
    return np.asarray(np.clip(cosines, -1.0, 1.0))


def measures_between(metric: Metric, ones: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """The measure of each embedding with each of others, by a product in double precision.

    The rounding error of a distance is about 1e-8 of the embeddings' length where they are equal, and far less where
    they are not.

    Args:
        metric: L2 distance (not squared) or cosine similarity.
        ones: float32 [N, D], none of them zero.
        others: float32 [M, D], none of them zero.

    Returns:
        float64 [N, M].
    """
    points, other_points = ones.astype(np.float64), others.astype(np.float64)
    if metric is Metric.COSINE:
        points /= np.linalg.norm(points, axis=1, keepdims=True)
        other_points /= np.linalg.norm(other_points, axis=1, keepdims=True)
        cosines = points @ other_points.T
        return np.clip(cosines, -1.0, 1.0, out=cosines)
    squares: NDArray[np.float64] = squared_distances(points, _squares(points), other_points, _squares(other_points))
    return np.sqrt(np.maximum(squares, 0.0, out=squares), out=squares)


def squared_distances(
    ones: NDArray[np.floating],
    squares: NDArray[np.floating],
    others: NDArray[np.floating],
    other_squares: NDArray[np.floating],
) -> NDArray[Any]:
    """|a|² + |b|² - 2ab of each pair, in the precision of what is given; rounding may make it a little less than zero.

    As one product, of (-2a, |a|², 1) and (b, 1, |b|²): passes over the large result cost as much.

    Args:
        ones: [N, D].
        squares: [N], their squared lengths.
        others: [M, D].
        other_squares: [M], likewise.

    Returns:
        [N, M].
    """
    left = np.column_stack([-2 * ones, squares, np.ones_like(squares)])
    right = np.column_stack([others, np.ones_like(other_squares), other_squares])
    return np.asarray(left @ right.T)


def _squares(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.einsum("nd,nd->n", points, points))
