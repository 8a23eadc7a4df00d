"""Gives each face that nobody knows an entry in a group, one entry for one new person."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from app.inference.models import EmbedderSpec
from app.services.distances import measures
from app.services.query_faces import QueryFace, embeddings_of
from app.services.rows import DEFAULT_TAG, NO_DESC, ScoredRow, Terms, random_id, scored
from app.store.groups import GroupStore
from app.store.records import Family, Hit, Metric, Record, Row
from app.vision.calibration import Calibration, calibration


class Enrolment:
    """Searches a group and enrols in it whom the search does not find.

    Search and write are one step to all other writes of the group, so that of several requests with the same new
    person one makes the entry and the others find it.

    Args:
        store: where rows are kept.
    """

    def __init__(self, store: GroupStore) -> None:
        self._store = store

    async def hits(
        self, group: str, faces: Sequence[QueryFace], spec: EmbedderSpec, terms: Terms, *, known: Sequence[bool]
    ) -> list[list[ScoredRow]]:
        """The hits of each face, in order; an enrolled face is its own single hit with score 1.

        Whether a face is new is decided by the whole group, whatever tags the terms name. A face also sees those
        that were enrolled before it in the same request.

        Args:
            group: the group.
            faces: at least one.
            spec: of the model that embedded them.
            terms: what counts as a hit.
            known: per face, whether it was found elsewhere already and must not be enrolled.
        """
        scale = calibration(spec.calibration)
        bound = scale.bound(terms.threshold)
        embeddings = embeddings_of(faces)
        judged = _JudgedFaces(faces, Metric(spec.metric), scale, terms, known)
        if not terms.tags:
            found = await self._store.search(Family.FACE, group, embeddings, limit=terms.limit, bound=bound)
            if not judged.newcomers(found):  # nothing to write: other readers need not wait
                return judged.hits(found)
        found = await self._store.search_then_add(
            Family.FACE, group, embeddings, judged.newcomers, limit=terms.limit, bound=bound, tags=terms.tags
        )
        return judged.hits(found)


class _JudgedFaces:
    """The faces of one request, judged in their order."""

    def __init__(
        self, faces: Sequence[QueryFace], metric: Metric, scale: Calibration, terms: Terms, known: Sequence[bool]
    ) -> None:
        self._faces = faces
        self._metric = metric
        self._scale = scale
        self._terms = terms
        self._known = known
        self._entries: dict[int, Record] = {}

    def newcomers(self, nearest: Sequence[Sequence[Hit]]) -> list[Record]:
        """An entry for each face that neither its nearest rows nor the entries before it are like."""
        self._entries = {}
        for number, face in enumerate(self._faces):
            known = self._known[number] or bool(scored(nearest[number], self._scale, self._terms.threshold))
            if not known and not self._before(number):
                row = Row(random_id(), DEFAULT_TAG, NO_DESC, face.bounding_box)
                self._entries[number] = Record(row, face.embedding)
        return list(self._entries.values())

    def hits(self, found: Sequence[Sequence[Hit]]) -> list[list[ScoredRow]]:
        """The hits of each face: what was found, and the entries before it."""
        return [self._hits(number, rows) for number, rows in enumerate(found)]

    def _hits(self, number: int, found: Sequence[Hit]) -> list[ScoredRow]:
        if number in self._entries:
            return [ScoredRow(self._entries[number].row, 1.0)]
        visible = not self._terms.tags or DEFAULT_TAG in self._terms.tags
        fresh = self._before(number) if visible else []
        return scored([*found, *fresh], self._scale, self._terms.threshold)[: self._terms.limit]

    def _before(self, number: int) -> list[Hit]:
        """The entries of faces before this one that are like it."""
        entries = [entry for other, entry in self._entries.items() if other < number]
        if not entries:
            return []
        others = np.stack([entry.embedding for entry in entries])
        found = measures(self._metric, self._faces[number].embedding, others)
        hits = [Hit(entry.row, float(measure)) for entry, measure in zip(entries, found, strict=True)]
        return [hit for hit in hits if self._scale.score(hit.measure) >= self._terms.threshold]
