"""What happens when several groups of faces are searched as if they were one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from app.services.query_faces import QueryFaces, stacked
from app.services.rows import RowGate, ScoredRow, Terms, scored
from app.store.groups import GroupStore
from app.store.records import BoundingBox, Family, Hit
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
        self._gate = RowGate(store, Family.FACE)

    async def search(self, groups: Sequence[str], uris: Sequence[str], terms: Terms) -> list[list[FaceGroupHits]]:
        """For every image its faces, largest first, and for each face the stored ones of all groups together.

        Raises:
            GroupNotFound, ModelMismatch, and what fetching, decoding and inference raise, with the image's index.
        """
        spec = await self._queries.spec()
        for group in groups:
            await self._gate.admits(group, spec)
        images = await self._queries.of_images(uris)
        embeddings = stacked(images)
        if embeddings is None:
            return [[] for _ in images]
        scale = calibration(spec.calibration)
        bound = scale.bound(terms.threshold)

        async def search(group: str) -> list[list[Hit]]:
            return await self._store.search(
                Family.FACE, group, embeddings, limit=terms.limit, bound=bound, tags=terms.tags
            )

        of_groups = await asyncio.gather(*map(search, groups))
        merged = iter(
            _merged(
                {group: scored(hits, scale, terms.threshold) for group, hits in zip(groups, found, strict=True)},
                terms.limit,
            )
            for found in zip(*of_groups, strict=True)
        )
        return [[FaceGroupHits(face.bounding_box, next(merged)) for face in faces] for faces in images]


def _merged(hits: dict[str, list[ScoredRow]], limit: int) -> list[GroupHit]:
    """The best hits of all groups: highest score first, ties by id, then by group."""
    together = [GroupHit(group, hit) for group, found in hits.items() for hit in found]
    return sorted(together, key=lambda hit: (-hit.found.score, hit.found.row.id, hit.group))[:limit]
