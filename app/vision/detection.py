"""From a detector's candidates to faces in the image's own pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.vision.letterbox import Letterbox


@dataclass(frozen=True, slots=True)
class Face:
    """A detected face, in pixels of the image as a person sees it.

    Attributes:
        box: left, top, right, bottom, inside the image.
        score: detection confidence in [0, 1].
        landmarks: FP32 [5, 2]: right eye, left eye, nose tip, right and left mouth corner, as (x, y).
    """

    box: tuple[float, float, float, float]
    score: float
    landmarks: NDArray[np.float32]

    @property
    def width(self) -> float:
        """Width of the box, in pixels."""
        return self.box[2] - self.box[0]

    @property
    def height(self) -> float:
        """Height of the box, in pixels."""
        return self.box[3] - self.box[1]

    @property
    def points(self) -> tuple[tuple[int, int], ...]:
        """The box as four integer points, clockwise from the top left."""
        left, top, right, bottom = (round(value) for value in self.box)
        return ((left, top), (right, top), (right, bottom), (left, bottom))


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
    scale = np.array([frame.scale_x, frame.scale_y], np.float32)
    limit = np.array([width, height, width, height], np.float32)
    faces = []
    for index in kept:
        box = np.clip(boxes[index] / np.tile(scale, 2), 0, limit)
        if box[2] - box[0] < 1 or box[3] - box[1] < 1:
            continue  # a candidate in the padding
        left, top, right, bottom = (float(value) for value in box)
        faces.append(Face((left, top, right, bottom), float(scores[index]), landmarks[index] / scale))
    return sorted(faces, key=lambda face: face.width * face.height, reverse=True)


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
