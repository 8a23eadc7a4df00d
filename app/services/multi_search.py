"""What happens when several groups of faces are searched as if they were one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.inference.models import EmbedderSpec
from app.services.enrolment import Enrolment
from app.services.query_faces import FaceQuery, QueryFace, QueryFaces, embeddings_of
from app.services.rows import ScoredRow, Terms, scored
from app.store.groups import GroupStore
from app.store.records import BoundingBox, Family
from app.vision.calibration import calibration


@dataclass(frozen=True, slots=True)
class GroupHit:
    """A stored face and the group that it is in."""

    group: str
    found: ScoredRow


@dataclass(frozen=True, slots=True)
class FaceGroupHits:
    """A face of a searched image and the stored faces like it.

    Attributes:
        bounding_box: where it lies in the searched image.
        hits: stored faces of all groups, best first.
    """

    bounding_box: BoundingBox
    hits: list[GroupHit]


class MultiSearch:
    """Similar faces in several groups at once.

    Args:
        store: where rows are kept.
        queries: finds and embeds the faces of searched images.
    """

    def __init__(self, store: GroupStore, queries: QueryFaces) -> None:
        self._store = store
        self._queries = queries
        self._enrolment = Enrolment(store)

    async def search(
        self, groups: Sequence[str], query: FaceQuery, terms: Terms, *, cluster_group: str | None = None
    ) -> list[list[FaceGroupHits]]:
        """For every image its faces, in order, and for each face the stored ones of all groups together.

        Args:
            groups: the groups.
            query: with what.
            terms: what counts as a hit.
            cluster_group: a further group, none of ``groups``; a face without a hit in any group is stored there.

        Raises:
            what ``QueryFaces.asked`` raises; nothing is stored then.
        """
        asked = await self._queries.asked([*groups, *([cluster_group] if cluster_group else [])], query, terms)
        faces, spec = asked.faces, asked.spec
        if not faces:
            return [[] for _ in asked.images]
        by_group = dict(zip(groups, await self._hits(groups, faces, spec, terms), strict=True))
        if cluster_group:
            known = await self._known(by_group, faces, spec, terms)
            by_group[cluster_group] = await self._enrolment.hits(cluster_group, faces, spec, terms, known=known)
        merged = [
            _merged({group: hits[number] for group, hits in by_group.items()}, terms.limit)
            for number in range(len(faces))
        ]
        return [[FaceGroupHits(face.bounding_box, hits) for face, hits in each] for each in asked.by_image(merged)]

    async def _hits(
        self, groups: Sequence[str], faces: Sequence[QueryFace], spec: EmbedderSpec, terms: Terms
    ) -> list[list[list[ScoredRow]]]:
        """Per group and face, the hits."""
        embeddings = embeddings_of(faces)
        return await asyncio.gather(*(self._hits_in(group, embeddings, spec, terms) for group in groups))

    async def _hits_in(
        self, group: str, embeddings: NDArray[np.float32], spec: EmbedderSpec, terms: Terms
    ) -> list[list[ScoredRow]]:
        scale = calibration(spec.calibration)
        found = await self._store.search(
            Family.FACE,
            group,
            embeddings,
            limit=terms.limit,
            bound=scale.bound(terms.threshold),
            tags=terms.tags,
        )
        return [scored(hits, scale, terms.threshold) for hits in found]

    async def _known(
        self,
        by_group: dict[str, list[list[ScoredRow]]],
        faces: Sequence[QueryFace],
        spec: EmbedderSpec,
        terms: Terms,
    ) -> list[bool]:
        """Per face, whether any row of the groups is like it, whatever tags the terms name."""
        of_groups = list(by_group.values())
        if terms.tags:
            of_groups = await self._hits(list(by_group), faces, spec, Terms(terms.threshold, 1))
        return [any(hits[number] for hits in of_groups) for number in range(len(faces))]


def _merged(hits: dict[str, list[ScoredRow]], limit: int) -> list[GroupHit]:
    """The best hits of all groups: highest score first, ties by id, then by group."""
    together = [GroupHit(group, hit) for group, found in hits.items() for hit in found]
    return sorted(together, key=lambda hit: (-hit.found.score, hit.found.row.id, hit.group))[:limit]
