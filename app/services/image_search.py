"""What happens when an image is added, updated or searched."""

from __future__ import annotations

from collections.abc import Sequence

from app.services.fan_out import for_each_image
from app.services.image_pipeline import ImagePipeline
from app.services.rows import NewImage, RowGate, ScoredRow, Terms, random_id, scored, vectors
from app.store.groups import GroupStore
from app.store.records import Family, Record, Row
from app.vision.calibration import calibration


class ImageSearch:
    """Whole-image similarity in groups.

    Args:
        store: where rows are kept.
        pipeline: makes embeddings.
    """

    def __init__(self, store: GroupStore, pipeline: ImagePipeline) -> None:
        self._store = store
        self._pipeline = pipeline
        self._gate = RowGate(store, Family.IMAGE)

    async def add(self, group: str, image: NewImage) -> str:
        """Stores an image and returns its id.

        Raises:
            GroupNotFound, ModelMismatch, IdExists, and what fetching, decoding and inference raise.
        """
        await self._gate.admits(group, await self._pipeline.spec())
        await self._gate.is_free(group, image.id)
        record = await self._record(group, image)
        await self._store.add(Family.IMAGE, group, record)
        return record.row.id

    async def update(self, group: str, image: NewImage) -> None:
        """Replaces an image with its tag and description.

        Raises:
            GroupNotFound, ModelMismatch, ImageNotFound, and what fetching, decoding and inference raise.
        """
        await self._gate.admits(group, await self._pipeline.spec())
        await self._gate.is_taken(group, image.id)
        await self._store.update(Family.IMAGE, group, await self._record(group, image))

    async def search(self, group: str, uris: Sequence[str], terms: Terms) -> list[list[ScoredRow]]:
        """For every image the rows at or over the threshold, best first.

        Raises:
            GroupNotFound, ModelMismatch, and what fetching, decoding and inference raise, with the image's index.
        """
        spec = await self._pipeline.spec()
        await self._gate.admits(group, spec)
        embedded = await for_each_image(uris, self._pipeline.embed)
        scale = calibration(spec.calibration)
        found = await self._store.search(
            Family.IMAGE,
            group,
            vectors(embedded, spec),
            limit=terms.limit,
            bound=scale.bound(terms.threshold),
            tags=terms.tags,
        )
        return [scored(hits, scale, terms.threshold) for hits in found]

    async def _record(self, group: str, image: NewImage) -> Record:
        embedded = await self._pipeline.embed(image.uri)
        await self._gate.admits(group, embedded.spec)  # the model may have been replaced since the first look
        return Record(Row(image.id or random_id(), image.tag, image.desc, None), embedded.vector)
