"""Rows as the use cases see them: what a client wants stored, and what a search found."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.errors import BackendUnavailable, IdExists, ImageNotFound, TooLarge
from app.inference.models import EmbedderSpec
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Hit, Metric, Row
from app.vision.calibration import Calibration

# What a row bears that came without a tag and a description.
DEFAULT_TAG = "default"
NO_DESC = "{}"

_ID_BYTES = 16  # 128 random bits
_MAX_HITS = 1_000_000


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


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """An embedding and the model that made it.

    Attributes:
        vector: FP32 [D].
        spec: what the model said of itself.
    """

    vector: NDArray[np.float32]
    spec: EmbedderSpec


def vectors(embedded: Sequence[Embedded], spec: EmbedderSpec) -> NDArray[np.float32]:
    """FP32 [n, D] of embeddings that must all be of one model.

    Raises:
        BackendUnavailable: the model was replaced while they were made.
    """
    require_one_model(embedded, spec)
    return np.stack([each.vector for each in embedded])


def require_one_model(embedded: Sequence[Embedded], spec: EmbedderSpec) -> None:
    """Makes sure that embeddings are all of one model.

    Raises:
        BackendUnavailable: the model was replaced while they were made.
    """
    if any(each.spec.model_id != spec.model_id for each in embedded):
        message = "The embedding model was replaced meanwhile: try again."
        raise BackendUnavailable(message)


def check_size(queries: int, limit: int) -> None:
    """Refuses a search whose answer could hold more hits than fit in memory.

    Raises:
        TooLarge: it could.
    """
    if queries * limit > _MAX_HITS:
        message = (
            f"The answer could hold {queries * limit} hits, at most {_MAX_HITS} are given: "
            "lower limit, or send fewer images at once."
        )
        raise TooLarge(message)


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
    """What must hold before a write is worth any inference; the store checks ids again under its lock.

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
