"""The box that a caller gives: any four corners around a face, and the map that makes them upright and square."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from app.vision.homography import Matrix, affine, homography

# Two sides that span a smaller share of the square over the longest side lie on a line.
_FLATTEST = 1e-4
# How much nearer one part of the surroundings may seem than another; beyond it a perspective map is not to be trusted.
_MOST_PERSPECTIVE = 2.5


class Quadrilateral:
    """Four corners in an image: the face's top left, top right, bottom right, bottom left.

    Args:
        corners: four points (x, y), in pixels. Corners named the other way round are put in order: a face is never
            mirrored.

    Raises:
        ValueError: the corners span no area, or their sides cross or turn inwards; the sentence says which.
    """

    def __init__(self, corners: Sequence[Sequence[float]]) -> None:
        # In plain numbers: a request may bring hundreds of boxes, and small arrays are slow.
        points = [(float(x), float(y)) for x, y in corners]
        if len(set(points)) < 4:
            raise ValueError("two of its corners are one point")
        following = [*points[1:], points[0]]
        sides = [(x2 - x1, y2 - y1) for (x1, y1), (x2, y2) in zip(points, following, strict=True)]
        # Where the way around turns clockwise as seen (y points down), the cross product of two sides is positive.
        turns = [ax * by - ay * bx for (ax, ay), (bx, by) in zip([sides[-1], *sides], sides, strict=False)]
        flattest = _FLATTEST * max(x * x + y * y for x, y in sides)
        if any(abs(turn) < flattest for turn in turns):
            raise ValueError("three of its corners lie on a line")
        if len({turn > 0 for turn in turns}) > 1:
            raise ValueError("its sides cross or turn inwards")
        self._points = np.array(points if turns[0] > 0 else [points[index] for index in (0, 3, 2, 1)])

    @property
    def corners(self) -> Matrix:
        """[4, 2], clockwise as seen in the image."""
        return self._points

    @property
    def width(self) -> float:
        """Mean length of the upper and the lower side, in pixels."""
        top, bottom = self._points[1] - self._points[0], self._points[2] - self._points[3]
        return float(np.linalg.norm(top) + np.linalg.norm(bottom)) / 2

    @property
    def height(self) -> float:
        """Mean length of the left and the right side, in pixels."""
        left, right = self._points[3] - self._points[0], self._points[2] - self._points[1]
        return float(np.linalg.norm(left) + np.linalg.norm(right)) / 2

    def share_inside(self, width: int, height: int) -> float:
        """The share of its area that lies inside an image of that size.

        What is left after each of the image's sides has cut off what lies beyond it (Sutherland and Hodgman, "Reentrant
        polygon clipping", Communications of the ACM 17(1), 1974).
        """
        rest = self._points
        for axis, bound, sign in ((0, 0, 1), (0, width, -1), (1, 0, 1), (1, height, -1)):
            rest = _cut_off(rest, (rest[:, axis] - bound) * sign)
            if len(rest) < 3:
                return 0.0
        return _area(rest) / _area(self._points)

    def rectified(self, rectangle: Matrix, surroundings: Matrix) -> Matrix:
        """The map [3, 3] that takes an upright rectangle to the corners.

        Args:
            rectangle: [4, 2], clockwise from the top left.
            surroundings: [n, 2], points around it that the map must be good for as well. Where the perspective is
                so strong that it is not, the closest map without perspective is taken.
        """
        exact = homography(rectangle, self._points)
        depths = np.column_stack([surroundings, np.ones(len(surroundings))]) @ exact[2]
        if depths.min() > 0 and depths.max() / depths.min() <= _MOST_PERSPECTIVE:
            return exact
        return affine(rectangle, self._points)


def _cut_off(points: Matrix, inside: NDArray[np.float64]) -> Matrix:
    """A convex polygon without the part where ``inside``, a distance that grows evenly, is negative."""
    kept = []
    for index, point in enumerate(points):
        other = (index + 1) % len(points)
        if inside[index] >= 0:
            kept.append(point)
        if inside[index] * inside[other] < 0:
            kept.append(point + (points[other] - point) * inside[index] / (inside[index] - inside[other]))
    return np.array(kept).reshape(-1, 2)


def _area(points: Matrix) -> float:
    """Of a clockwise polygon, by the shoelace formula."""
    following = np.roll(points, -1, axis=0)
    return float((points[:, 0] * following[:, 1] - following[:, 0] * points[:, 1]).sum() / 2)
