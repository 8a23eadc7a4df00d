"""What happens when a face is added, updated or searched."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import BadFace, MultipleFaces, NoFace
from app.services.face_finder import Points
from app.services.face_pipeline import FacePipeline, FaceQuality
from app.services.query_faces import FaceQuery, QueryFaces, embeddings_of
from app.services.rows import NewImage, RowGate, ScoredRow, Terms, random_id, scored
from app.store.groups import GroupStore
from app.store.records import BoundingBox, Family, Record, Row
from app.vision.calibration import calibration
from app.vision.detection import FoundFace
from app.vision.orientation import Orientation
from app.vision.quality import Quality

_FAULTS = {
    Quality.BLUR: "it is blurred (blur)",
    Quality.SMALL: "it is too small (small)",
    Quality.COVER: "it is covered in part (cover)",
    Quality.POSE: "the head is turned too far (large pose)",
}


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
class NewFace:
    """What a client wants stored.

    Attributes:
        image: the image and what goes with it.
        box: four corners of the face, where the client knows it; None: the largest face that is detected.
        reject_bad: whether a face that is not clear and upright is refused.
    """

    image: NewImage
    box: Points | None = None
    reject_bad: bool = False


@dataclass(frozen=True, slots=True)
class StoredFace:
    """A face that was stored.

    Attributes:
        id: its id.
        bounding_box: where it lies in its image.
        quality: what it is worth; None where the client gave the box.
        number: how many faces of sufficient size the image has; 1 where the client gave the box.
    """

    id: str
    bounding_box: BoundingBox
    quality: FaceQuality | None
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
        pipeline: finds, judges and embeds faces.
        queries: finds and embeds the faces of searched images.
        rules: what may be added.
    """

    def __init__(self, store: GroupStore, pipeline: FacePipeline, queries: QueryFaces, rules: FaceRules) -> None:
        self._store = store
        self._pipeline = pipeline
        self._queries = queries
        self._rules = rules
        self._gate = RowGate(store, Family.FACE)

    async def add(self, group: str, face: NewFace) -> StoredFace:
        """Stores a face of an image.

        Raises:
            GroupNotFound, ModelMismatch, IdExists, NoFace, MultipleFaces, BadFace, InvalidBoundingBox, and what
            fetching, decoding and inference raise.
        """
        await self._gate.admits(group, await self._pipeline.spec())
        await self._gate.is_free(group, face.image.id)
        record, stored = await self._record(group, face)
        await self._store.add(Family.FACE, group, record)
        return stored

    async def update(self, group: str, face: NewFace) -> StoredFace:
        """Replaces a face with its tag and description.

        Raises:
            as ``add``, but ImageNotFound where the id is not there.
        """
        await self._gate.admits(group, await self._pipeline.spec())
        await self._gate.is_taken(group, face.image.id)
        record, stored = await self._record(group, face)
        await self._store.update(Family.FACE, group, record)
        return stored

    async def search(self, group: str, query: FaceQuery, terms: Terms) -> list[list[FaceHits]]:
        """For every image its faces, in order, and for each face the stored ones at or over the threshold.

        Raises:
            what ``QueryFaces.asked`` raises.
        """
        asked = await self._queries.asked([group], query, terms)
        if not asked.faces:
            return [[] for _ in asked.images]
        scale = calibration(asked.spec.calibration)
        found = await self._store.search(
            Family.FACE,
            group,
            embeddings_of(asked.faces),
            limit=terms.limit,
            bound=scale.bound(terms.threshold),
            tags=terms.tags,
        )
        return [
            [FaceHits(face.bounding_box, scored(hits, scale, terms.threshold)) for face, hits in each]
            for each in asked.by_image(found)
        ]

    async def _record(self, group: str, new: NewFace) -> tuple[Record, StoredFace]:
        async with self._pipeline.open(new.image.uri, [new.box] if new.box else ()) as opened:
            faces = opened.faces if new.box else self._storable(opened.faces)
            quality: FaceQuality | None = None
            if new.reject_bad:  # a face that is refused need not be embedded
                [quality] = await opened.judge(faces[:1])
                _require_good(quality)
            if new.box or quality is not None:
                [embedded] = await opened.embed(faces[:1])
            else:
                quality, embedded = await opened.judge_and_embed(faces[0])
        await self._gate.admits(group, embedded.spec)  # the model may have been replaced since the first look
        box = BoundingBox(faces[0].points, faces[0].score)
        row = Row(new.image.id or random_id(), new.image.tag, new.image.desc, box)
        stored = StoredFace(row.id, box, None if new.box else quality, len(faces))
        return Record(row, embedded.vector), stored

    def _storable(self, faces: Sequence[FoundFace]) -> Sequence[FoundFace]:
        """Those of detected faces that are large enough, at least one."""
        least = self._rules.min_size
        large = [face for face in faces if face.shorter_side >= least]
        if not faces:
            message = "No face was found in the image: send one that shows a face."
            raise NoFace(message)
        if not large:
            message = (
                f"No face of at least {least}×{least} pixels was found in the image, the largest has a shorter side of "
                f"{max(face.shorter_side for face in faces):g}: send a larger picture of it."
            )
            raise NoFace(message)
        if len(large) > 1 and not self._rules.several_allowed:
            message = f"{len(large)} faces were found in the image, one is allowed: send a picture of one person."
            raise MultipleFaces(message, extra={"face_number": len(large)})
        return large


def _require_good(face: FaceQuality) -> None:
    if face.is_good:
        return
    faults = [_FAULTS[face.quality]] if face.quality in _FAULTS else []
    if face.orientation is not Orientation.UP:
        faults.append(f"the top of the head points {face.orientation.replace('_', ' ')} (orientation)")
    message = f"The face is not good enough to be stored: {' and '.join(faults)}. Send a better picture of it."
    raise BadFace(message, extra={"face_quality": {"quality": face.quality, "orientation": face.orientation}})
