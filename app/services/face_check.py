"""What can be asked of faces without any group: which there are, and whether two are of one person."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import NoFace
from app.services.distances import measures
from app.services.face_pipeline import FacePipeline, FaceQuality
from app.services.fan_out import for_each_image
from app.services.rows import Embedded, require_one_model
from app.store.records import BoundingBox, Metric
from app.vision.calibration import calibration


@dataclass(frozen=True, slots=True, eq=False)
class SeenFace:
    """A face of an image.

    Attributes:
        bounding_box: where it lies.
        landmarks: FP32 [5, 2], in pixels of the image.
        quality: what it is worth.
    """

    bounding_box: BoundingBox
    landmarks: NDArray[np.float32]
    quality: FaceQuality


@dataclass(frozen=True, slots=True)
class Verification:
    """Two faces compared.

    Attributes:
        score: how alike they are, in [0, 1].
        bounding_boxes: where the largest face of each image lies.
    """

    score: float
    bounding_boxes: tuple[BoundingBox, BoundingBox]


class FaceCheck:
    """Looks at faces and stores nothing.

    Args:
        pipeline: finds, judges and embeds faces.
    """

    def __init__(self, pipeline: FacePipeline) -> None:
        self._pipeline = pipeline

    async def detect(self, uris: Sequence[str]) -> list[list[SeenFace]]:
        """For every image its faces, largest first.

        Raises:
            what fetching, decoding and inference raise, with the image's index.
        """
        return await for_each_image(uris, self._seen)

    async def verify(self, uris: tuple[str, str]) -> Verification:
        """How alike the largest faces of two images are.

        Raises:
            NoFace: an image shows none; and what fetching, decoding and inference raise, with the image's index.
        """
        (one_box, one), (other_box, other) = await for_each_image(uris, self._largest)
        require_one_model([other], one.spec)
        [measure] = measures(Metric(one.spec.metric), one.vector, other.vector[np.newaxis])
        return Verification(calibration(one.spec.calibration).score(float(measure)), (one_box, other_box))

    async def _seen(self, uri: str) -> list[SeenFace]:
        async with self._pipeline.open(uri) as opened:
            worth = await opened.judge(opened.faces)
            return [
                SeenFace(BoundingBox(face.points, face.score), face.landmarks, quality)
                for face, quality in zip(opened.faces, worth, strict=True)
            ]

    async def _largest(self, uri: str) -> tuple[BoundingBox, Embedded]:
        async with self._pipeline.open(uri) as opened:
            if not opened.faces:
                message = "No face was found in the image: send one that shows a face."
                raise NoFace(message)
            largest = opened.faces[0]
            [embedded] = await opened.embed([largest])
            return BoundingBox(largest.points, largest.score), embedded
