"""From an image URI to the embedding of the whole image."""

from __future__ import annotations

from functools import partial

from app.catalogue.roles import EMBEDDING
from app.inference.models import EmbedderSpec, ServedModel
from app.services.image_source import ImageSource
from app.services.rows import Embedded
from app.stages import Stage, stage
from app.vision.letterbox import squash

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
        async with self._source.open(uri, needed_side=spec.input_size * OVERSAMPLING) as opened:
            with stage(Stage.ALIGN):
                pixels = await self._source.in_thread(partial(squash, opened.pixels, spec.input_size))
        with stage(Stage.EMBED):
            answer = await self._embedder.infer(pixels)
        return Embedded(answer.outputs[EMBEDDING], answer.spec)
