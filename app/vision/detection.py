"""From a detector's candidates to faces in the image's own pixels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from app.vision.homography import Matrix
from app.vision.letterbox import Letterbox


@dataclass(frozen=True, slots=True, eq=False)
class BoxedFace:
    """A face whose box the caller gave.

    Attributes:
        points: the box as four integer points (x, y), as the caller gave them.
        shorter_side: of the box, in pixels.
        landmarks: FP32 [5, 2], in pixels of the image.
        frame: [3, 3], the map from the rectified box's plane to the image.
        score: none: the caller, not the detector, says that there is a face.
    """

    points: tuple[tuple[int, int], ...]
    shorter_side: float
    landmarks: NDArray[np.float32]
    frame: Matrix
    score: None = None


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """A detected face, in pixels of the image as a person sees it.

    Attributes:
        box: left, top, right, bottom, inside the image.
        score: detection confidence in [0, 1].
        landmarks: FP32 [5, 2]: right eye, left eye, nose tip, right and left mouth corner, as (x, y).
        frame: none: the plane in which the face is not distorted is the image's.
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: NDArray[np.float32]
    frame: None = None

    @property
    def width(self) -> float:
        """Width of the box, in pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """Height of the box, in pixels."""
        return self.box[3] - self.box[1]

    @property
    def shorter_side(self) -> int:
        """Of the box, in whole pixels, as clients see it."""
        (left, top), _, (right, bottom), _ = self.points
        return min(right - left, bottom - top)

    def with_landmarks(self, landmarks: NDArray[np.floating]) -> Face:
        """The same face with better landmarks, [5, 2]."""
        return replace(self, landmarks=landmarks.astype(np.float32))

    @property
    def points(self) -> tuple[tuple[int, int], ...]:
        """The box as four integer points, clockwise from the top left."""
        left, top, right, bottom = (round(value) for value in self.box)
        return ((left, top), (right, top), (right, bottom), (left, bottom))


FoundFace = Face | BoxedFace
"""A face of an image, whoever said where it is."""


def faces_from_candidates(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    landmarks: NDArray[np.float32],
    frame: Letterbox,
    *,
    width: int,
    height: int,
    score_threshold: float,
    nms_iou: float,
) -> list[Face]:
    """Keeps the candidates that are faces and maps them back to the image.

    Args:
        boxes: FP32 [K, 4], xyxy in pixels of the detector's input.
        scores: FP32 [K].
        landmarks: FP32 [K, 5, 2] in pixels of the detector's input.
        frame: how the image was fitted into the input.
        width: of the image, in pixels.
        height: of the image, in pixels.
        score_threshold: confidence from which a candidate counts, inclusive.
        nms_iou: overlap over which the weaker of two candidates is dropped.

    Returns:
        the faces, largest first.
    """
    likely = (scores >= score_threshold) & np.isfinite(boxes).all(axis=1)
    boxes, scores, landmarks = boxes[likely], scores[likely], landmarks[likely]
    kept = non_maximum_suppression(boxes, scores, nms_iou)
    faces = []
    for index in kept:
        corners = np.clip(frame.to_image(boxes[index].reshape(2, 2)), 0, [width, height])
        (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        if right - left < 1 or bottom - top < 1:
            continue  # a candidate in the padding
        points = frame.to_image(landmarks[index]).astype(np.float32)
        faces.append(Face((left, top, right, bottom), float(scores[index]), points))
    return largest_first(faces)


def largest_first(faces: Iterable[Face]) -> list[Face]:
    """Faces by the area of their boxes."""
    return sorted(faces, key=lambda face: face.width * face.height, reverse=True)


def without_doubles(faces: Sequence[Face], nms_iou: float) -> list[Face]:
    """Faces of several looks at one image, each once: of those that overlap the one with the highest score.

    Args:
        faces: what the looks found.
        nms_iou: overlap over which two are one face.

    Returns:
        the faces, largest first.
    """
    boxes = np.array([face.box for face in faces], np.float32).reshape(-1, 4)
    scores = np.array([face.score for face in faces], np.float32)
    return largest_first(faces[index] for index in non_maximum_suppression(boxes, scores, nms_iou))


def non_maximum_suppression(boxes: NDArray[np.float32], scores: NDArray[np.float32], iou: float) -> list[int]:
    """Greedy non-maximum suppression.

    Args:
        boxes: FP32 [K, 4], xyxy.
        scores: FP32 [K].
        iou: a box that overlaps a stronger one by more than this intersection over union is dropped.

    Returns:
        indices of the kept boxes, strongest first.
    """
    area = np.maximum(boxes[:, 2] - boxes[:, 0], 0) * np.maximum(boxes[:, 3] - boxes[:, 1], 0)
    rest = np.argsort(-scores, kind="stable")
    kept = []
    while rest.size:
        best, rest = rest[0], rest[1:]
        kept.append(int(best))
        overlap = np.minimum(boxes[best, 2:], boxes[rest, 2:]) - np.maximum(boxes[best, :2], boxes[rest, :2])
        shared = np.maximum(overlap, 0).prod(axis=1)
        union = np.maximum(area[best] + area[rest] - shared, np.finfo(np.float32).tiny)
        rest = rest[shared / union <= iou]
    return kept
