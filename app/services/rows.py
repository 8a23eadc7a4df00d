"""Rows as the use cases see them: what a client wants stored, and what a search found."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from app.errors import IdExists, ImageNotFound
from app.inference.models import EmbedderSpec
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Hit, Metric, Row
from app.vision.calibration import Calibration

# What a row bears that came without a tag and a description.
DEFAULT_TAG = "default"
NO_DESC = "{}"

_ID_BYTES = 16  # 128 random bits


@dataclass(frozen=True, slots=True)
class NewImage:
    """What a client wants stored.

    Attributes:
        id: its id; empty for a random one.
        uri: where its pixels are.
        tag: its tag.
        desc: its description, as compact JSON text.
    """

    id: str
    uri: str
    tag: str
    desc: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What a client wants of a search.

    Attributes:
        threshold: least score of a hit, inclusive.
        limit: most hits of one searched image or face.
        tags: search only inside these; empty for all.
    """

    threshold: float
    limit: int
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ScoredRow:
    """A stored row and how alike it is to what was searched.

    Attributes:
        row: what is stored.
        score: similarity in [0, 1].
    """

    row: Row
    score: float


def random_id() -> str:
    """A new id of 128 random bits, URL-safe."""
    return secrets.token_urlsafe(_ID_BYTES)


def embedding_space(spec: EmbedderSpec) -> EmbeddingSpace:
    """The space that a model's embeddings live in."""
    return EmbeddingSpace(model_id=spec.model_id, dimension=spec.dimension, metric=Metric(spec.metric))


def scored(hits: Sequence[Hit], calibration: Calibration, threshold: float) -> list[ScoredRow]:
    """Hits at or over the threshold, highest score first, ties by id."""
    rows = [ScoredRow(hit.row, calibration.score(hit.measure)) for hit in hits]
    # Rounding can make equal scores of unequal distances: the order is the score's, then the id's.
    return sorted((row for row in rows if row.score >= threshold), key=lambda row: (-row.score, row.row.id))


class RowGate:
    """What must hold before a write is worth any inference; the store checks it again under its lock.

    Args:
        store: where rows are kept.
        family: images or faces.
    """

    def __init__(self, store: GroupStore, family: Family) -> None:
        self._store = store
        self._family = family

    async def admits(self, group: str, spec: EmbedderSpec) -> None:
        """The group is there and holds embeddings of this model. Raises GroupNotFound, ModelMismatch."""
        await self._store.check(self._family, group, embedding_space(spec))

    async def is_free(self, group: str, id: str) -> None:  # noqa: A002 (the API's word)
        """No row has this id. Raises IdExists."""
        if id and await self._store.contains(self._family, group, id):
            raise IdExists

    async def is_taken(self, group: str, id: str) -> None:  # noqa: A002
        """A row has this id. Raises ImageNotFound."""
        if not await self._store.contains(self._family, group, id):
            raise ImageNotFound
