"""What the store takes and gives: rows, hits, pages and facts about groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")


class Family(StrEnum):
    """The two kinds of groups: whole images, or faces in images."""

    IMAGE = "image"
    FACE = "face"


class Metric(StrEnum):
    """How two embeddings are compared; the values are Milvus's own names."""

    L2 = "L2"
    COSINE = "COSINE"


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """Where a face lies.

    Attributes:
        pts: four points (x, y) clockwise from the top left, pixels of the image as a person sees it.
        score: detection confidence in [0, 1]; None where the caller gave the box.
    """

    pts: tuple[tuple[int, int], ...]
    score: float | None


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """Which model made the embeddings of a group; only embeddings of one space can be compared."""

    model_id: str
    dimension: int
    metric: Metric

    @property
    def described(self) -> str:
        """For a sentence: the model, and what its embeddings are like."""
        return f"{self.model_id} ({self.dimension} dimensions, {self.metric})"


@dataclass(frozen=True, slots=True)
class Row:
    """One image or face of a group, without its embedding.

    Attributes:
        id: unique in its group, at most 4096 bytes of UTF-8.
        tag: at most 256 bytes of UTF-8.
        desc: compact JSON text, at most 65,536 bytes of UTF-8; comes back byte for byte.
        bounding_box: faces only.
    """

    id: str
    tag: str
    desc: str
    bounding_box: BoundingBox | None


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """A row and its embedding.

    Attributes:
        row: all but the embedding.
        embedding: float32 [D], finite and not all zero.
        expires: when it ends, in seconds of Unix time; None of a new row, or of one that stays.
    """

    row: Row
    embedding: NDArray[np.float32]
    expires: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """A part of a walk through the embeddings of a group.

    Attributes:
        ids: of the rows, N of them, in the byte order of a listing.
        tags: of the same rows.
        vectors: float32 [N, D].
        after: the id to go on from, None at the end.
    """

    ids: list[str]
    tags: list[str]
    vectors: NDArray[np.float32]
    after: str | None


@dataclass(frozen=True, slots=True)
class Held:
    """Ids and tags, at least one of either, under which something may be held."""

    ids: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A row found by search; ``measure`` is its L2 distance (not squared) or its cosine similarity."""

    row: Row
    measure: float


@dataclass(frozen=True, slots=True)
class GroupInfo:
    """A group.

    Attributes:
        capacity: number of rows that it was made for.
        tags: number of distinct tags.
        count: number of rows.
        ttl_seconds: how long each row is kept; None for good.
    """

    capacity: int
    tags: int
    count: int
    ttl_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class TagCount:
    """How many rows bear a tag."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a listing; ``after`` is the key to go on from, None on the last page."""

    items: Sequence[T]
    after: str | None
