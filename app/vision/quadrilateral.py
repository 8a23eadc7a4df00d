"""The box that a caller gives: any four corners around a face, and the map that makes them upright and square."""

from __future__ import annotations

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
        corners: [4, 2] as (x, y), in pixels. Corners named the other way round are put in order: a face is never
            mirrored.

    Raises:
        ValueError: the corners span no area, or their sides cross or turn inwards; the sentence says which.
    """

    def __init__(self, corners: NDArray[np.floating]) -> None:
        points = np.asarray(corners, np.float64)
        if len(np.unique(points, axis=0)) < 4:
            raise ValueError("two of its corners are one point")
        turns = _turns(points)
        longest = max(float(np.linalg.norm(points - np.roll(points, 1, axis=0), axis=1).max()), 1e-9)
        if (np.abs(turns) < _FLATTEST * longest**2).any():
            raise ValueError("three of its corners lie on a line")
        if not (turns > 0).all() and not (turns < 0).all():
            raise ValueError("its sides cross or turn inwards")
        self._points = points if turns[0] > 0 else points[[0, 3, 2, 1]]

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

    def overlaps(self, width: int, height: int) -> bool:
        """Whether any of it lies inside an image of that size: one of two convex shapes has no separating side.

        By the separating axis theorem, over the sides of both.
        """
        image = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
        for shape in (self._points, image):
            for side in np.roll(shape, -1, axis=0) - shape:
                axis = np.array([-side[1], side[0]])
                ours, theirs = self._points @ axis, image @ axis
                if ours.max() <= theirs.min() or theirs.max() <= ours.min():
                    return False
        return True

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


def _turns(points: Matrix) -> NDArray[np.float64]:
    """At each corner the cross product of the side before it and the one after: positive where it turns clockwise."""
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return np.asarray(before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0])
