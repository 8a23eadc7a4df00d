"""Maps of the plane that keep straight lines straight: from a rectified box to the quadrilateral in the image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def homography(source: Matrix, target: Matrix) -> Matrix:
    """The map that takes four points to four points.

    Hartley and Zisserman, *Multiple View Geometry in Computer Vision*, section 4.1, with the depth of the source's
    centre fixed to 1: between convex quadrilaterals the centre never lies on the horizon, whatever else does.

    Args:
        source: [4, 2], a convex quadrilateral.
        target: [4, 2], a convex quadrilateral.

    Returns:
        [3, 3].

    Raises:
        np.linalg.LinAlgError: three points lie on a line.
    """
    centre = source.mean(axis=0)
    rows = []
    for (x, y), (u, v) in zip(source - centre, target, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    solved = np.linalg.solve(np.array(rows, np.float64), target.astype(np.float64).ravel())
    to_centre = np.array([[1, 0, -centre[0]], [0, 1, -centre[1]], [0, 0, 1]])
    return np.asarray(np.append(solved, 1.0).reshape(3, 3) @ to_centre)


def affine(source: Matrix, target: Matrix) -> Matrix:
    """The map without perspective that takes points closest to points, by least squares.

    Args:
        source: [n, 2], n at least 3.
        target: [n, 2].

    Returns:
        [3, 3] with the last row (0, 0, 1).
    """
    padded = np.column_stack([source, np.ones(len(source))])
    solved, *_ = np.linalg.lstsq(padded, target, rcond=None)
    return homogeneous(np.asarray(solved.T, np.float64))


def homogeneous(transform: Matrix) -> Matrix:
    """A map without perspective, [2, 3], as one of the plane, [3, 3]."""
    return np.vstack([transform, [0.0, 0.0, 1.0]])


def inverse(through: Matrix) -> Matrix:
    """The way back through a map [3, 3]."""
    return np.asarray(np.linalg.inv(through), np.float64)


def mapped(points: NDArray[np.floating], through: Matrix) -> Matrix:
    """Points [n, 2] on the other side of a map [3, 3]."""
    sides = np.column_stack([points.astype(np.float64), np.ones(len(points))]) @ through.T
    return np.asarray(sides[:, :2] / sides[:, 2:])


def scaling(through: Matrix, at: Matrix) -> float:
    """By how much a map enlarges lengths around a point [2]: the root of its Jacobian's determinant."""
    x, y, w = through @ np.append(at, 1.0)
    rows = (through[:2, :2] * w - np.outer([x, y], through[2, :2])) / w**2
    return float(np.sqrt(abs(np.linalg.det(rows))))
