"""Exact distances and similarities between embeddings, as the store measures them."""

from __future__ import annotations

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
