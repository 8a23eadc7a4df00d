"""The faces that a search starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.inference.models import EmbedderSpec
from app.services.face_pipeline import FacePipeline
from app.services.fan_out import for_each_image
from app.services.rows import Embedded, require_one_model
from app.store.records import BoundingBox


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


class QueryFaces:
    """Finds and embeds the faces of searched images.

    Args:
        pipeline: finds and embeds faces.
    """

    def __init__(self, pipeline: FacePipeline) -> None:
        self._pipeline = pipeline

    async def spec(self) -> EmbedderSpec:
        """What the embedding model says of itself."""
        return await self._pipeline.spec()

    async def of_images(self, uris: Sequence[str], spec: EmbedderSpec) -> list[list[QueryFace]]:
        """For every image its faces, largest first.

        Args:
            uris: the images.
            spec: of the model that must have embedded all of them.

        Raises:
            BackendUnavailable: the model was replaced meanwhile.
            what fetching, decoding and inference raise, with the image's index.
        """
        images = await for_each_image(uris, self._of_image)
        require_one_model([face.embedded for faces in images for face in faces], spec)
        return images

    async def _of_image(self, uri: str) -> list[QueryFace]:
        async with self._pipeline.open(uri) as image:
            embedded = await image.embed(image.faces)
            return [
                QueryFace(BoundingBox(face.points, face.score), each)
                for face, each in zip(image.faces, embedded, strict=True)
            ]


def embeddings_of(faces: Sequence[QueryFace]) -> NDArray[np.float32]:
    """FP32 [N, D] of at least one face."""
    return np.stack([face.embedding for face in faces])
