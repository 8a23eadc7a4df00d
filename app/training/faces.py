"""The faces on the photos to train on: found as the service finds them, and cut out with what is around them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.catalogue.models import DETECTOR, DLIB_TEMPLATE
from app.catalogue.roles import BOXES, LANDMARKS, SCORES
from app.training.features import GraphRunner
from app.training.photos import Photo
from app.training.portrait import CHIP_SIDE, Portrait
from app.vision.alignment import aligned_chip
from app.vision.detection import Face, faces_from_candidates
from app.vision.letterbox import letterbox

LEAST_SIDE: Final = 24
"""Faces whose box has a shorter side are left out: nobody could say how clear they are."""

SAME_PERSON: Final = 0.55
"""Distance of two embeddings below which faces are taken for one person's: the threshold of face search."""


@dataclass(frozen=True, slots=True)
class TrainingFace:
    """One face of one photo.

    Attributes:
        photo: name of its file.
        found: box and landmarks in the photo.
        chip: UINT8 RGB [150,150,3], as the service cuts it out.
        portrait: the face with what is around it.
    """

    photo: str
    found: Face
    chip: NDArray[np.uint8]
    portrait: Portrait

    @property
    def side(self) -> float:
        """The shorter side of its box, in pixels of the photo."""
        return min(self.found.width, self.found.height)


def find_faces(photos: Sequence[Photo], detector: GraphRunner, say: Callable[[str], None]) -> list[TrainingFace]:
    """Finds the faces that are large enough, in the order of the photos, largest first.

    Args:
        photos: upright.
        detector: of the role ``face_detector``.
        say: takes one line of progress at a time.
    """
    faces: list[TrainingFace] = []
    for number, photo in enumerate(photos, 1):
        image = np.asarray(photo.image)
        for face in detect(image, detector):
            if min(face.width, face.height) < LEAST_SIDE:
                continue
            chip = aligned_chip(image, face.landmarks, DLIB_TEMPLATE, CHIP_SIDE)
            portrait = Portrait.cut_out(image, face.landmarks, face.width)
            faces.append(TrainingFace(photo.name, face, chip, portrait))
        if number % 20 == 0 or number == len(photos):
            say(f"faces: {len(faces)} on {number} of {len(photos)} photos")
    return faces


def detect(image: NDArray[np.uint8], detector: GraphRunner) -> list[Face]:
    """The faces on an image, largest first, found with the default detector's parameters."""
    parameters = DETECTOR.parameters
    frame = letterbox(image, long_side=int(parameters["input_long_side"]), multiple=int(parameters["input_multiple"]))
    outputs = {name: values[0] for name, values in detector.outputs(frame.pixels[None]).items()}
    return faces_from_candidates(
        outputs[BOXES],
        outputs[SCORES],
        outputs[LANDMARKS],
        frame,
        width=image.shape[1],
        height=image.shape[0],
        score_threshold=float(parameters["score_threshold"]),
        nms_iou=float(parameters["nms_iou"]),
    )


def persons(faces: Sequence[TrainingFace], embeddings: NDArray[np.float32]) -> NDArray[np.int64]:
    """Numbers of persons, INT64 [faces]: who may be the same has the same number.

    Faces are linked where they are on one photo, where their files are named alike (``ann-1.jpg`` and
    ``ann-partial-2.jpg``), and where their embeddings are near; and so on along the links.

    Args:
        faces: as found.
        embeddings: FP32 [faces,D] of the default face embedder.
    """
    names = np.asarray([_person(face.photo) for face in faces])
    points = embeddings.astype(np.float64)
    squares = np.einsum("nd,nd->n", points, points)
    near = squares[:, None] + squares - 2 * points @ points.T < SAME_PERSON**2
    linked = (names[:, None] == names) | near
    # The lowest number among those linked goes around until nobody hears of a lower one.
    numbers = np.arange(len(faces))
    while (lower := np.where(linked, numbers, len(faces)).min(axis=1, initial=len(faces))).tolist() != numbers.tolist():
        numbers = lower
    return np.asarray(np.unique(numbers, return_inverse=True)[1], np.int64)


def _person(name: str) -> str:
    stem = name.rpartition(".")[0] or name
    return re.sub(r"(-partial)?-\w+$", "", stem)
