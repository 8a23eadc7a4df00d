"""Where the top of a head points, and how well five landmarks fit a face at all."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.vision.alignment import similarity_transform
from app.vision.homography import Matrix

# The landmarks of a mean face in a square of side 1 that leaves a quarter of the face's side around them: dlib's mean
# shape (image_transforms/interpolation.h, get_face_chip_details), the same that its embedding model is aligned by.
MEAN_FACE: Final = np.array(
    [[0.31699, 0.31066], [0.66984, 0.31066], [0.49342, 0.51042], [0.33610, 0.68682], [0.65074, 0.68682]]
)

# How ``MEAN_FACE``'s square lies to a box drawn tightly around a face, fitted to a detector's boxes: its centre so many
# heights of the box below the box's, its side so many times the root of the box's area.
_BELOW = 0.077
_SIDE = 1.089

_OCTANT = 45.0


class Orientation(StrEnum):
    """Where the top of the head points, in the image as a person sees it, counter-clockwise from up."""

    UP = "up"
    UP_LEFT = "up_left"
    LEFT = "left"
    DOWN_LEFT = "down_left"
    DOWN = "down"
    DOWN_RIGHT = "down_right"
    RIGHT = "right"
    UP_RIGHT = "up_right"


def roll(landmarks: NDArray[np.floating]) -> float:
    """The angle of a head's top, in degrees counter-clockwise from up, in (-180, 180].

    Args:
        landmarks: [5, 2] as (x, y): right eye, left eye, nose tip, right and left mouth corner.
    """
    up = (landmarks[0] + landmarks[1]) / 2 - (landmarks[3] + landmarks[4]) / 2
    return float(np.degrees(np.arctan2(-up[0], -up[1])))


def orientation(landmarks: NDArray[np.floating]) -> Orientation:
    """The octant that a head's top points to.

    Args:
        landmarks: as in ``roll``.
    """
    return list(Orientation)[round(roll(landmarks) / _OCTANT) % 8]


def misfit(landmarks: NDArray[np.floating]) -> float:
    """How far landmarks lie from those of a mean face, in shares of the side of ``MEAN_FACE``'s square.

    The root of the mean squared distance that the closest similarity transform leaves. Upright faces seen from the
    front have about 0.02, profiles up to 0.1.

    Args:
        landmarks: as in ``roll``.
    """
    to_mean = similarity_transform(landmarks.astype(np.float64), MEAN_FACE)
    moved = landmarks @ to_mean[:, :2].T + to_mean[:, 2]
    return float(np.sqrt(((moved - MEAN_FACE) ** 2).sum(axis=1).mean()))


def expected_landmarks(corners: Matrix) -> NDArray[np.float32]:
    """Where the landmarks of an upright face lie whose box is all that is known: FP32 [5, 2].

    Embeddings bear boxes that are off by a tenth of their side, and no more.

    Args:
        corners: [4, 2], an upright rectangle, clockwise from the top left.
    """
    width, height = corners[2] - corners[0]
    centre = corners.mean(axis=0) + np.array([0, _BELOW * height])
    return np.asarray(centre + (MEAN_FACE - 0.5) * _SIDE * np.sqrt(width * height), np.float32)
