"""From an image URI to its faces and their embeddings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import numpy as np
from numpy.typing import NDArray

from app.catalogue.roles import BOXES, EMBEDDING, LANDMARKS, SCORES
from app.inference.models import DetectorSpec, EmbedderSpec, ServedModel
from app.services.fan_out import for_each
from app.services.image_source import ImageSource
from app.services.rows import Embedded
from app.vision.alignment import aligned_chip
from app.vision.detection import Face, faces_from_candidates
from app.vision.letterbox import letterbox

# Faces of one image that wait for the embedder together: a crowd in one photo must not fill the queue of all.
_FACES_AT_ONCE = 16


class FacesInImage:
    """The faces of one open image.

    Attributes:
        faces: what was detected, largest first.
    """

    def __init__(
        self,
        image: NDArray[np.uint8],
        faces: list[Face],
        *,
        source: ImageSource,
        embedder: ServedModel[EmbedderSpec],
    ) -> None:
        self.faces = faces
        self._image = image
        self._source = source
        self._embedder = embedder

    async def embed(self, faces: Sequence[Face]) -> list[Embedded]:
        """Embeddings of some of the faces, in their order."""
        embedded: list[Embedded] = []
        for start in range(0, len(faces), _FACES_AT_ONCE):
            embedded += await for_each(faces[start : start + _FACES_AT_ONCE], self._embed)
        return embedded

    async def _embed(self, face: Face) -> Embedded:
        spec = await self._embedder.spec()
        chip = await self._source.in_thread(
            partial(aligned_chip, self._image, face.landmarks, spec.alignment_template, spec.input_size)
        )
        answer = await self._embedder.infer(chip)
        return Embedded(answer.outputs[EMBEDDING], answer.spec)


class FacePipeline:
    """Detects and embeds faces.

    Args:
        source: brings pixels.
        detector: the model ``face_detector``.
        embedder: the model ``face_embedder``.
    """

    def __init__(
        self, source: ImageSource, detector: ServedModel[DetectorSpec], embedder: ServedModel[EmbedderSpec]
    ) -> None:
        self._source = source
        self._detector = detector
        self._embedder = embedder

    async def spec(self) -> EmbedderSpec:
        """What the embedding model says of itself."""
        return await self._embedder.spec()

    @asynccontextmanager
    async def open(self, uri: str) -> AsyncIterator[FacesInImage]:
        """Yields the faces of the image at ``uri``; its pixels are held until the block ends."""
        async with self._source.open(uri) as image:
            faces = await self._detect(image)
            yield FacesInImage(image, faces, source=self._source, embedder=self._embedder)

    async def _detect(self, image: NDArray[np.uint8]) -> list[Face]:
        spec = await self._detector.spec()
        frame = await self._source.in_thread(
            partial(letterbox, image, long_side=spec.input_long_side, multiple=spec.input_multiple)
        )
        outputs = (await self._detector.infer(frame.pixels)).outputs
        return faces_from_candidates(
            outputs[BOXES],
            outputs[SCORES],
            outputs[LANDMARKS],
            frame,
            width=image.shape[1],
            height=image.shape[0],
            score_threshold=spec.score_threshold,
            nms_iou=spec.nms_iou,
        )
