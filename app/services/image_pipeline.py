"""From an image URI to the embedding of the whole image."""

from __future__ import annotations

from app.catalogue.roles import EMBEDDING
from app.decoding import Form
from app.inference.models import EmbedderSpec, ServedModel
from app.services.image_source import ImageSource
from app.services.rows import Embedded
from app.stages import Stage, stage

# A JPEG may be decoded at a reduced scale of at least this many times the model's input.
OVERSAMPLING = 2


class ImagePipeline:
    """Embeds whole images.

    Args:
        source: brings pixels.
        embedder: the model ``image_embedder``.
    """

    def __init__(self, source: ImageSource, embedder: ServedModel[EmbedderSpec]) -> None:
        self._source = source
        self._embedder = embedder

    async def spec(self) -> EmbedderSpec:
        """What the embedding model says of itself."""
        return await self._embedder.spec()

    async def embed(self, uri: str) -> Embedded:
        """The embedding of the image at ``uri``."""
        spec = await self._embedder.spec()
        form = Form(needed_side=spec.input_size * OVERSAMPLING, square=spec.input_size)
        async with self._source.open(uri, form) as opened:
            pixels = opened.pixels
        with stage(Stage.EMBED):
            answer = await self._embedder.infer(pixels)
        return Embedded(answer.outputs[EMBEDDING], answer.spec)
