"""Close looks at one face: a detector's landmarks can be trusted only where the face stands upright before it.

On a face that lies on its side or upside down the detector is sure of itself and puts the eyes where the mouth is.
So every face is cut out and looked at once more. Two looks that agree on a plausible face are right (none of 387 lying
faces passed, 92 % of those within 30° of upright did), and the mean of both is closer than either. Where they do not
agree the other three quarter turns decide, and a face that is still tilted is looked at a last time, upright.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.vision.alignment import cut
from app.vision.homography import Matrix, mapped
from app.vision.orientation import misfit, roll
from app.vision.quadrilateral import Quadrilateral
from app.vision.quarters import turned, turned_back

SIDE: Final = 192
"""Side of a close-up in pixels; a multiple of every detector's 32. At 128 three times as many turns are mistaken."""

CONTEXT: Final = 2.0
"""Side of a close-up in longest sides of the face's box."""

DETAILED: Final = 128
"""Shorter side of a box, in pixels, from which a chip is scaled down: in dlib's 150 pixels a face has about 110."""

# A candidate is the face itself if its box and the expected one share this much of their union: rotated faces get
# boxes that are off by a third, and callers draw boxes around the whole head.
_LEAST_OVERLAP = 0.2
# Of a look that is believed without the other turns.
_SURE_SCORE = 0.75
_SURE_MISFIT = 0.0333
_SURE_ROLL = 40.0
_AGREEMENT = 0.08  # mean distance of the landmarks of two looks, in longest sides of the box
# By how much a look's score counts less for each share that its landmarks are off those of a mean face.
_TOLERATED_MISFIT = 0.0267
_MISFIT_COST = 6.0
# Degrees of tilt that the detector's landmarks bear well.
_UPRIGHT = 20.0
# Degrees; a little over half a quarter, so that a face in between counts in both.
_WITHIN_A_QUARTER = 60.0
# Landmarks that fit no face at all must come with a high score: a profile's do, a dog's do not.
_ODD_MISFIT = 0.08
_ODD_SCORE = 0.8

Arrays = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""A detector's BOXES [K,4], SCORES [K] and LANDMARKS [K,5,2] of one input."""


@dataclass(frozen=True, slots=True, eq=False)
class CloseUp:
    """One face and its surroundings, cut out.

    Attributes:
        pixels: UINT8 RGB [192, 192, 3].
        to_image: [3, 3], the way from its coordinates to the image's.
    """

    pixels: NDArray[np.uint8]
    to_image: Matrix


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What a detector saw of the face.

    Attributes:
        score: its confidence in [0, 1].
        landmarks: FP32 [5, 2], in pixels of the image.
        tilt: degrees by which the face was off upright in what the detector was shown.
        misfit: of the landmarks as the detector was shown them.
    """

    score: float
    landmarks: NDArray[np.float32]
    tilt: float
    misfit: float

    @property
    def merit(self) -> float:
        """By which looks at the same face are compared."""
        return self.score - _MISFIT_COST * max(0.0, self.misfit - _TOLERATED_MISFIT)

    def is_sure(self, before: NDArray[np.float32], side: float) -> bool:
        """Whether this look and an earlier one agree on a plausible face.

        Args:
            before: FP32 [5, 2], the landmarks of the earlier look, in pixels of the image.
            side: the longest side of the face's box, in pixels.
        """
        apart = float(np.linalg.norm(self.landmarks - before, axis=1).mean())
        return (
            self.score >= _SURE_SCORE
            and self.misfit < _SURE_MISFIT
            and abs(self.tilt) < _SURE_ROLL
            and apart < _AGREEMENT * side
        )

    def is_tilted(self) -> bool:
        """Whether the face was too far off upright for good landmarks."""
        return abs(self.tilt) > _UPRIGHT

    def is_face(self, least_score: float) -> bool:
        """Whether there is a face at all.

        Args:
            least_score: confidence from which a candidate counts.
        """
        return self.score >= least_score and (self.misfit <= _ODD_MISFIT or self.score >= _ODD_SCORE)


def upright_merit(landmarks: NDArray[np.float32], score: float, quarters: int) -> float:
    """The merit of a face that was seen in a picture turned by quarters; 0 where it does not stand upright in it.

    The detector sees faces in several turns of a picture, and is often surest of a wrong one.

    Args:
        landmarks: FP32 [5, 2], in pixels of the image before the turn.
        score: the detector's confidence.
        quarters: by how many quarters the picture was turned, counter-clockwise.
    """
    tilt = (roll(landmarks) + 90 * quarters + 180) % 360 - 180
    look = Look(score, landmarks, tilt, misfit(landmarks))
    return max(look.merit, 0.0) if abs(tilt) <= _WITHIN_A_QUARTER else 0.0


def around(box: tuple[float, float, float, float]) -> Matrix:
    """The map from a close-up to the image, of a detected face.

    Args:
        box: left, top, right, bottom, in pixels of the image.
    """
    left, top, right, bottom = box
    scale = CONTEXT * max(right - left, bottom - top) / SIDE
    x, y = (left + right) / 2, (top + bottom) / 2
    return np.array([[scale, 0, x - scale * SIDE / 2], [0, scale, y - scale * SIDE / 2], [0, 0, 1]])


def box_in_close_up(width: float, height: float) -> Matrix:
    """Where a box of that size lies in its close-up, upright: [4, 2], clockwise from the top left."""
    across, down = (SIDE / CONTEXT * side / max(width, height) for side in (width, height))
    left, top = (SIDE - across) / 2, (SIDE - down) / 2
    return np.array([[left, top], [left + across, top], [left + across, top + down], [left, top + down]])


def around_quadrilateral(box: Quadrilateral) -> Matrix:
    """The map from a close-up to the image, of a box that a caller gave: its corners become upright."""
    edges = np.array([[0, 0], [SIDE, 0], [SIDE, SIDE], [0, SIDE]], np.float64)
    return box.rectified(box_in_close_up(box.width, box.height), edges)


def is_detailed(box: tuple[float, float, float, float], scale: tuple[float, float]) -> bool:
    """Whether a face is still larger than models see it in an image of which there are fewer pixels.

    Args:
        box: left, top, right, bottom, in pixels of the image.
        scale: what there is of each pixel.
    """
    left, top, right, bottom = box
    return min((right - left) * scale[0], (bottom - top) * scale[1]) >= DETAILED


def tilted_by(degrees: float, to_image: Matrix) -> Matrix:
    """The same surroundings turned about their centre, so that a head tilted counter-clockwise stands upright."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    half = SIDE / 2
    turn = np.array([[cos, sin, half - half * (cos + sin)], [-sin, cos, half - half * (cos - sin)], [0, 0, 1]])
    return np.asarray(to_image @ turn)


def close_up(image: NDArray[np.uint8], to_image: Matrix, scale: tuple[float, float] = (1.0, 1.0)) -> CloseUp:
    """Cuts a close-up out of an image, UINT8 RGB [H, W, 3], of which there may be less than all pixels.

    Args:
        image: its pixels.
        to_image: the map from the close-up to the image.
        scale: what there is of each pixel of the image, horizontally and vertically.
    """
    return CloseUp(cut(image, np.diag([*scale, 1.0]) @ to_image, SIDE), to_image)


def strip(shown: CloseUp, quarters: Sequence[int]) -> NDArray[np.uint8]:
    """The close-up turned counter-clockwise by so many quarters, side by side: UINT8 RGB [192, 192·n, 3].

    One call for all turns: the detector's cost goes by pixels, and its answer lists the best of all.
    """
    turns = [np.rot90(shown.pixels, quarter) for quarter in quarters]
    return np.ascontiguousarray(np.concatenate(turns, axis=1))


def looks(shown: CloseUp, quarters: Sequence[int], candidates: Arrays, expected: Matrix) -> list[Look]:
    """The look at each turn of a strip, where the detector saw the face there.

    Args:
        shown: what was cut out.
        quarters: the turns of the strip.
        candidates: what the detector says of the strip.
        expected: [n, 2], corners of the box that the face has in the close-up.
    """
    boxes, scores, landmarks = candidates
    found = []
    for place, quarter in enumerate(quarters):
        here = boxes - np.array([place * SIDE, 0] * 2, np.float32)
        wanted = turned(expected, quarter, SIDE, SIDE)
        near = np.flatnonzero(_overlaps(here, np.concatenate([wanted.min(axis=0), wanted.max(axis=0)])))
        if not near.size:
            continue
        best = near[np.argmax(scores[near])]
        seen = landmarks[best] - np.array([place * SIDE, 0], np.float32)
        in_image = mapped(turned_back(seen, quarter, SIDE, SIDE), shown.to_image).astype(np.float32)
        found.append(Look(float(scores[best]), in_image, roll(seen), misfit(seen)))
    return found


def _overlaps(boxes: NDArray[np.float32], expected: Matrix) -> NDArray[np.bool_]:
    """Which of the boxes [K, 4] share enough with the expected one [4], all xyxy."""
    shared = np.maximum(np.minimum(boxes[:, 2:], expected[2:]) - np.maximum(boxes[:, :2], expected[:2]), 0).prod(axis=1)
    areas = np.maximum(boxes[:, 2:] - boxes[:, :2], 0).prod(axis=1)
    union = areas + (expected[2:] - expected[:2]).prod() - shared
    return np.asarray(shared >= _LEAST_OVERLAP * union)
