"""The faces that a search starts from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.inference.models import EmbedderSpec
from app.services.face_finder import Points
from app.services.face_pipeline import FacePipeline
from app.services.fan_out import for_each_image
from app.services.rows import Embedded, RowGate, Terms, check_size, require_one_model
from app.store.groups import GroupStore
from app.store.records import BoundingBox, Family

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class QueryImage:
    """An image to search with.

    Attributes:
        uri: where its pixels are.
        boxes: four corners of each face to search with; none: the faces that are detected.
    """

    uri: str
    boxes: tuple[Points, ...] = ()


@dataclass(frozen=True, slots=True)
class FaceQuery:
    """What to search with.

    Attributes:
        images: at least one.
        good_only: whether faces that are not clear and upright are passed over.
    """

    images: Sequence[QueryImage]
    good_only: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class QueryFace:
    """A face of a searched image.

    Attributes:
        bounding_box: where it lies in the searched image.
        embedded: its embedding.
    """

    bounding_box: BoundingBox
    embedded: Embedded

    @property
    def embedding(self) -> NDArray[np.float32]:
        """FP32 [D]."""
        return self.embedded.vector


@dataclass(frozen=True, slots=True, eq=False)
class AskedFaces:
    """All faces of a query.

    Attributes:
        spec: of the model that embedded them.
        images: for every image its faces: largest first, or in the order of the boxes that were given.
    """

    spec: EmbedderSpec
    images: list[list[QueryFace]]

    @property
    def faces(self) -> list[QueryFace]:
        """Those of all images, in order."""
        return [face for found in self.images for face in found]

    def by_image(self, results: Iterable[ResultT]) -> list[list[tuple[QueryFace, ResultT]]]:
        """For every image its faces, each with its result; ``results`` come in the order of ``faces``."""
        remaining = iter(results)
        return [[(face, next(remaining)) for face in found] for found in self.images]


class QueryFaces:
    """Finds and embeds the faces of searched images.

    Args:
        store: where the searched groups are.
        pipeline: finds, judges and embeds faces.
    """

    def __init__(self, store: GroupStore, pipeline: FacePipeline) -> None:
        self._gate = RowGate(store, Family.FACE)
        self._pipeline = pipeline

    async def asked(self, groups: Sequence[str], query: FaceQuery, terms: Terms) -> AskedFaces:
        """The faces to look for in some groups, once it is clear that they can be looked for there.

        Args:
            groups: where.
            query: with what.
            terms: what counts as a hit.

        Raises:
            GroupNotFound, ModelMismatch: before any inference.
            TooLarge: the answer could hold too many hits.
            BackendUnavailable: the model was replaced meanwhile.
            InvalidBoundingBox, and what fetching, decoding and inference raise, with the image's index.
        """
        spec = await self.spec()
        for group in groups:
            await self._gate.admits(group, spec)
        check_size(sum(len(image.boxes) for image in query.images) * len(groups), terms.limit)
        asked = AskedFaces(spec, await self.of_images(query))
        require_one_model([face.embedded for face in asked.faces], spec)
        check_size(len(asked.faces) * len(groups), terms.limit)
        return asked

    async def spec(self) -> EmbedderSpec:
        """What the embedding model says of itself."""
        return await self._pipeline.spec()

    async def of_images(self, query: FaceQuery) -> list[list[QueryFace]]:
        """For every image its faces."""

        async def of_image(image: QueryImage) -> list[QueryFace]:
            async with self._pipeline.open(image.uri, image.boxes) as opened:
                faces = opened.faces
                if query.good_only:
                    worth = await opened.judge(faces)
                    faces = [face for face, quality in zip(faces, worth, strict=True) if quality.is_good]
                embedded = await opened.embed(faces)
                return [
                    QueryFace(BoundingBox(face.points, face.score), each)
                    for face, each in zip(faces, embedded, strict=True)
                ]

        return await for_each_image(query.images, of_image)


def embeddings_of(faces: Sequence[QueryFace]) -> NDArray[np.float32]:
    """FP32 [N, D] of at least one face."""
    return np.stack([face.embedding for face in faces])
