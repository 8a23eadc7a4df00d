"""What happens when a face is added, updated or searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import MultipleFaces, NoFace
from app.services.face_pipeline import FacePipeline
from app.services.query_faces import QueryFaces, embeddings_of
from app.services.rows import NewImage, RowGate, ScoredRow, Terms, check_size, random_id, scored
from app.store.groups import GroupStore
from app.store.records import BoundingBox, Family, Record, Row
from app.vision.calibration import calibration
from app.vision.detection import Face


@dataclass(frozen=True, slots=True)
class FaceRules:
    """What an operator decided about adding faces.

    Attributes:
        min_size: smallest side of a face, in pixels.
        several_allowed: whether an image with several faces is taken (its largest face) or refused.
    """

    min_size: int
    several_allowed: bool


@dataclass(frozen=True, slots=True)
class StoredFace:
    """A face that was stored.

    Attributes:
        id: its id.
        bounding_box: where it lies in its image.
        number: how many faces of sufficient size the image has.
    """

    id: str
    bounding_box: BoundingBox
    number: int


@dataclass(frozen=True, slots=True)
class FaceHits:
    """A face of a searched image and the stored faces like it.

    Attributes:
        bounding_box: where it lies in the searched image.
        hits: stored faces, best first.
    """

    bounding_box: BoundingBox
    hits: list[ScoredRow]


class FaceSearch:
    """Similar faces in groups.

    Args:
        store: where rows are kept.
        pipeline: finds and embeds faces.
        rules: what may be added.
    """

    def __init__(self, store: GroupStore, pipeline: FacePipeline, rules: FaceRules) -> None:
        self._store = store
        self._pipeline = pipeline
        self._rules = rules
        self._gate = RowGate(store, Family.FACE)
        self._queries = QueryFaces(pipeline)

    async def add(self, group: str, image: NewImage) -> StoredFace:
        """Stores the largest face of an image.

        Raises:
            GroupNotFound, ModelMismatch, IdExists, NoFace, MultipleFaces, and what fetching, decoding and inference
            raise.
        """
        await self._gate.admits(group, await self._pipeline.spec())
        await self._gate.is_free(group, image.id)
        record, stored = await self._record(group, image)
        await self._store.add(Family.FACE, group, record)
        return stored

    async def update(self, group: str, image: NewImage) -> StoredFace:
        """Replaces a face with its tag and description.

        Raises:
            as ``add``, but ImageNotFound where the id is not there.
        """
        await self._gate.admits(group, await self._pipeline.spec())
        await self._gate.is_taken(group, image.id)
        record, stored = await self._record(group, image)
        await self._store.update(Family.FACE, group, record)
        return stored

    async def search(self, group: str, uris: Sequence[str], terms: Terms) -> list[list[FaceHits]]:
        """For every image its faces, largest first, and for each face the stored ones at or over the threshold.

        Raises:
            GroupNotFound, ModelMismatch, and what fetching, decoding and inference raise, with the image's index.
        """
        spec = await self._pipeline.spec()
        await self._gate.admits(group, spec)
        images = await self._queries.of_images(uris, spec)
        faces = [face for found in images for face in found]
        if not faces:
            return [[] for _ in images]
        check_size(len(faces), terms.limit)
        scale = calibration(spec.calibration)
        hits = iter(
            await self._store.search(
                Family.FACE,
                group,
                embeddings_of(faces),
                limit=terms.limit,
                bound=scale.bound(terms.threshold),
                tags=terms.tags,
            )
        )
        return [
            [FaceHits(face.bounding_box, scored(next(hits), scale, terms.threshold)) for face in found]
            for found in images
        ]

    async def _record(self, group: str, image: NewImage) -> tuple[Record, StoredFace]:
        async with self._pipeline.open(image.uri) as opened:
            large = [face for face in opened.faces if min(face.width, face.height) >= self._rules.min_size]
            self._judge(opened.faces, large)
            [embedded] = await opened.embed(large[:1])
        await self._gate.admits(group, embedded.spec)  # the model may have been replaced since the first look
        box = _box(large[0])
        row = Row(image.id or random_id(), image.tag, image.desc, box)
        return Record(row, embedded.vector), StoredFace(row.id, box, len(large))

    def _judge(self, faces: Sequence[Face], large: Sequence[Face]) -> None:
        least = self._rules.min_size
        if not faces:
            message = "No face was found in the image: send one that shows a face."
            raise NoFace(message)
        if not large:
            message = f"No face of at least {least}×{least} pixels was found in the image: send a larger picture of it."
            raise NoFace(message)
        if len(large) > 1 and not self._rules.several_allowed:
            message = f"{len(large)} faces were found in the image, one is allowed: send a picture of one person."
            raise MultipleFaces(message, extra={"face_number": len(large)})


def _box(face: Face) -> BoundingBox:
    return BoundingBox(face.points, face.score)
