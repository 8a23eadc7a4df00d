"""Quarter turns of a picture, and where its points go with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.vision.homography import Matrix

QUARTERS = range(4)


def turned(points: NDArray[np.floating], quarters: int, width: float, height: float) -> Matrix:
    """Where points go when the picture is turned counter-clockwise, as ``np.rot90`` does.

    Args:
        points: [n, 2] as (x, y), counted from pixel edges.
        quarters: how many quarter turns.
        width: of the picture before the turn.
        height: likewise.
    """
    moved = np.asarray(points, np.float64)
    for _ in range(quarters % len(QUARTERS)):
        moved = np.column_stack([moved[:, 1], width - moved[:, 0]])
        width, height = height, width
    return moved


def turned_back(points: NDArray[np.floating], quarters: int, width: float, height: float) -> Matrix:
    """Where points of the turned picture were before; ``width`` and ``height`` are those before the turn."""
    if quarters % 2:
        width, height = height, width
    return turned(points, -quarters, width, height)
