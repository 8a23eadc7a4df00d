"""Whether a face is good enough to be known again, and if not, why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.catalogue.roles import QualityClass
from app.vision.detection import FoundFace

NEUTRAL_NOSE: Final = 0.57
"""Where the nose tip of a frontal face lies between the eyes (0) and the mouth (1): the median over photos of the
default detector's landmarks."""


class Quality(StrEnum):
    """What the interface says of a face; ``small``, ``blur``, ``cover`` and ``pose`` are reasons to reject it."""

    CLEAR = "clear"
    BLUR = "blur"
    SMALL = "small"
    COVER = "cover"
    POSE = "pose"


@dataclass(frozen=True, slots=True)
class QualityRules:
    """The rules that go with a quality model.

    Attributes:
        small_side: pixels of a box's shorter side below which a face is small.
        pose_yaw: shift of the nose tip to a side, in distances of the eyes, from which a face is turned away.
        pose_pitch: shift of the nose tip up or down, in distances of eyes and mouth, from which it is.
    """

    small_side: float
    pose_yaw: float
    pose_pitch: float


@dataclass(frozen=True, slots=True)
class Turn:
    """How far a head is turned, as its landmarks show it.

    Both are 0 for a frontal face and grow about as the tangent of the angle.

    Attributes:
        yaw: shift of the nose tip towards the person's left eye, in distances of the eyes.
        pitch: shift of the nose tip towards the mouth, in distances of eyes and mouth.
    """

    yaw: float
    pitch: float


def face_quality(probabilities: NDArray[np.float32], face: FoundFace, rules: QualityRules) -> Quality:
    """Decides on one face.

    A small face is small whatever else it is. Then the model's likeliest class counts; what it finds clear may still
    be turned away by its landmarks, since the model was trained on made turns.

    Args:
        probabilities: FP32 [4] of the classes of ``QualityClass``, in their order.
        face: box and landmarks in the pixels of the image as it came.
        rules: of the model that gave the probabilities.
    """
    if face.shorter_side < rules.small_side:
        return Quality.SMALL
    likeliest = Quality(list(QualityClass)[int(probabilities.argmax())])
    if likeliest is Quality.CLEAR and is_turned(turn(face.landmarks), rules):
        return Quality.POSE
    return likeliest


def is_turned(angle: Turn, rules: QualityRules) -> bool:
    """Whether a head is turned further than the rules allow, to a side, up or down."""
    return abs(angle.yaw) >= rules.pose_yaw or abs(angle.pitch) >= rules.pose_pitch


def turn(landmarks: NDArray[np.float32]) -> Turn:
    """Reads a head's turn from its landmarks.

    The nose tip stands out of the plane of eyes and mouth, so it moves over them when the head turns. Its place is
    told in the axes from eye to eye and from the eyes' midpoint to the mouth's: these turn, grow and slant with the
    face, so neither where it lies in the image, nor its size, nor a tilt of the head plays a part. The eyes' distance
    shrinks as the head turns to a side, which makes the measure grow the faster the further it is turned.

    Args:
        landmarks: FP32 [5,2]: right eye, left eye, nose tip, right and left mouth corner, as (x, y).

    Returns:
        the turn; infinite where the points lie on one line, as none of a face that is seen from the front do.
    """
    right_eye, left_eye, nose, right_mouth, left_mouth = landmarks.astype(np.float64)
    eyes = (right_eye + left_eye) / 2
    across, down, out = left_eye - right_eye, (right_mouth + left_mouth) / 2 - eyes, nose - eyes
    area = across[0] * down[1] - across[1] * down[0]
    if area == 0:
        return Turn(np.inf, np.inf)
    yaw = (out[0] * down[1] - out[1] * down[0]) / area
    along = (across[0] * out[1] - across[1] * out[0]) / area
    return Turn(float(yaw), float(along) - NEUTRAL_NOSE)
