"""From an image URI to its faces, what they are worth, and their embeddings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from app.catalogue.roles import EMBEDDING, QUALITY
from app.decoding import WHOLE, Form
from app.inference.models import DetectorSpec, EmbedderSpec, QualitySpec, ServedModel
from app.services.face_finder import FaceFinder, Points
from app.services.fan_out import for_each, for_each_face
from app.services.image_source import ImageSource, OpenImage
from app.services.rows import Embedded
from app.stages import Stage, stage
from app.vision.alignment import aligned_chip
from app.vision.detection import FoundFace
from app.vision.orientation import Orientation, orientation
from app.vision.quality import Quality, QualityRules, face_quality


@dataclass(frozen=True, slots=True)
class FaceQuality:
    """What a face is worth for being known again.

    Attributes:
        quality: clear, or what is wrong with it.
        orientation: where the top of the head points, in the image as a person sees it.
    """

    quality: Quality
    orientation: Orientation

    @property
    def is_good(self) -> bool:
        """Whether the face is clear and upright."""
        return self.quality is Quality.CLEAR and self.orientation is Orientation.UP


@dataclass(frozen=True, slots=True, eq=False)
class FaceModels:
    """The models that look at a face.

    Attributes:
        detector: the model ``face_detector``.
        quality: the model ``face_quality``.
        embedder: the model ``face_embedder``.
    """

    detector: ServedModel[DetectorSpec]
    quality: ServedModel[QualitySpec]
    embedder: ServedModel[EmbedderSpec]


class FacesInImage:
    """The faces of one open image.

    Attributes:
        faces: what was detected, largest first; or those in the boxes that the caller gave, in their order.
    """

    def __init__(
        self, image: OpenImage, faces: Sequence[FoundFace], *, source: ImageSource, models: FaceModels
    ) -> None:
        self.faces = faces
        self._image = image
        self._source = source
        self._models = models
        # Quality and embedding models of one make take the same chips.
        self._chips: dict[tuple[int, int, tuple[tuple[float, float], ...]], NDArray[np.uint8]] = {}

    async def embed(self, faces: Sequence[FoundFace]) -> list[Embedded]:
        """Embeddings of some of the faces, in their order."""
        return await for_each_face(faces, self._embed)

    async def judge(self, faces: Sequence[FoundFace]) -> list[FaceQuality]:
        """What some of the faces are worth, in their order."""
        return await for_each_face(faces, self._judge)

    async def judge_and_embed(self, face: FoundFace) -> tuple[FaceQuality, Embedded]:
        """Both for one face, side by side."""
        await self._chip(face, await self._models.embedder.spec())
        worth: list[FaceQuality] = []
        embedded: list[Embedded] = []

        async def judge() -> None:
            worth.append(await self._judge(face))

        async def embed() -> None:
            embedded.append(await self._embed(face))

        await for_each((judge, embed), lambda work: work())
        return worth[0], embedded[0]

    async def _embed(self, face: FoundFace) -> Embedded:
        chip = await self._chip(face, await self._models.embedder.spec())
        with stage(Stage.EMBED):
            answer = await self._models.embedder.infer(chip)
        return Embedded(answer.outputs[EMBEDDING], answer.spec)

    async def _judge(self, face: FoundFace) -> FaceQuality:
        spec = await self._models.quality.spec()
        chip = await self._chip(face, spec)
        with stage(Stage.QUALITY):
            answer = await self._models.quality.infer(chip)
        rules = QualityRules(spec.small_side, spec.pose_yaw, spec.pose_pitch)
        return FaceQuality(face_quality(answer.outputs[QUALITY], face, rules), orientation(face.landmarks))

    async def _chip(self, face: FoundFace, spec: EmbedderSpec | QualitySpec) -> NDArray[np.uint8]:
        key = (id(face), spec.input_size, spec.alignment_template)
        if key not in self._chips:
            cut = partial(
                aligned_chip,
                self._image.pixels,
                face.landmarks,
                spec.alignment_template,
                spec.input_size,
                frame=face.frame,
                scale=self._image.scale,
            )
            with stage(Stage.ALIGN):
                self._chips[key] = await self._source.work_on(self._image, cut)
        return self._chips[key]


class FacePipeline:
    """Finds, judges and embeds faces.

    Args:
        source: brings pixels.
        models: look at them.
    """

    def __init__(self, source: ImageSource, models: FaceModels) -> None:
        self._source = source
        self._models = models
        self._finder = FaceFinder(source, models.detector)

    async def spec(self) -> EmbedderSpec:
        """What the embedding model says of itself."""
        return await self._models.embedder.spec()

    @asynccontextmanager
    async def open(self, uri: str, boxes: Sequence[Points] = ()) -> AsyncIterator[FacesInImage]:
        """Yields the faces of the image at ``uri``; its pixels are held until the block ends.

        Args:
            uri: where the image is.
            boxes: four corners of each face where the caller knows them; none: faces are detected.
        """
        # Boxes may be of faces of any size: then all pixels are needed.
        form = WHOLE if boxes else Form(needed_side=await self._finder.needed_side())
        async with self._source.open(uri, form) as image:
            with stage(Stage.DETECT):
                faces: Sequence[FoundFace]
                if boxes:
                    faces = await for_each_face(boxes, partial(self._finder.boxed, image))
                else:
                    faces = await self._finder.faces(image)
            yield FacesInImage(image, faces, source=self._source, models=self._models)
