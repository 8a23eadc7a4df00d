"""The list of groups, kept in a Milvus collection of its own: its row is what makes a group exist."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from app.errors import ModelMismatch
from app.store import filters
from app.store.engine import Engine
from app.store.records import EmbeddingSpace, Family, Metric
from app.store.shape import VECTOR_FIELD

_SCHEMA_VERSION = 1
_SCHEMA_VERSION_TTL = 2
# No field can be added to a collection that is there, so a group's time to live stands behind the time it was made.
_TTL = ";ttl_seconds="
_TEXTS = {
    "key": 64,
    "family": 16,
    "name": 64,
    "model_id": 1024,
    "metric": 16,
    "collection": 255,
    "created": 64,
}
_INTEGERS = ("capacity", "dimension", "schema_version")
_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Registration:
    """What the registry knows of one group.

    Attributes:
        family: images or faces.
        name: its name.
        capacity: number of rows that it is made for.
        space: which model made its embeddings.
        collection: where its rows are.
        created: when it was made, UTC in ISO 8601.
        ttl_seconds: how long each row is kept; None for good.
    """

    family: Family
    name: str
    capacity: int
    space: EmbeddingSpace
    collection: str
    created: str
    ttl_seconds: int | None = None

    @classmethod
    def now(
        cls,
        family: Family,
        name: str,
        *,
        capacity: int,
        space: EmbeddingSpace,
        collection: str,
        ttl_seconds: int | None = None,
    ) -> Registration:
        """A registration made at this moment."""
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(family, name, capacity, space, collection, created, ttl_seconds)

    def require(self, space: EmbeddingSpace) -> None:
        """Raises ModelMismatch unless embeddings of this space can be compared with those of the group."""
        if self.space != space:
            raise ModelMismatch(
                f"The group {self.name!r} was made with the model {self.space.described}, but {space.described} is "
                "served: serve that model again, or create a new group and add the images again."
            )


class Registry:
    """Reads and writes registrations in one collection."""

    def __init__(self, engine: Engine, collection: str) -> None:
        self._engine = engine
        self._collection = collection

    async def exists(self) -> bool:
        """Whether the collection is there."""
        return await self._engine.has(self._collection)

    async def prepare(self) -> None:
        """Makes the collection, which is missing."""
        # Every Milvus collection needs a vector: two dummy numbers here.
        await self._engine.create(self._collection, texts=_TEXTS, integers=_INTEGERS, dimension=2, metric=Metric.L2)

    async def read(self) -> list[Registration]:
        """All registrations."""
        return [_registration(row) for row in await self._rows()]

    async def examine(self) -> tuple[list[Registration], list[str]]:
        """All registrations that can be read, and the keys of those that cannot."""
        readable: list[Registration] = []
        unreadable: list[str] = []
        for row in await self._rows():
            try:
                readable.append(_registration(row))
            except ValueError:
                unreadable.append(row["key"])
        return readable, unreadable

    async def _rows(self) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        after: str | None = ""
        while after is not None:
            rows = await self._engine.query(
                self._collection, filters.beyond("key", after), [*_TEXTS, *_INTEGERS], limit=_PAGE, strong=True
            )
            found.update((row["key"], row) for row in rows)
            after = rows[-1]["key"] if len(rows) == _PAGE else None
        return list(found.values())

    async def write(self, registration: Registration) -> None:
        """Makes a group exist; replaces what an earlier try that failed half-way may have left."""
        ttl = registration.ttl_seconds
        row: dict[str, object] = {
            "key": _key(registration),
            "family": registration.family.value,
            "name": registration.name,
            "model_id": registration.space.model_id,
            "metric": registration.space.metric.value,
            "collection": registration.collection,
            "created": registration.created if ttl is None else f"{registration.created}{_TTL}{ttl}",
            "capacity": registration.capacity,
            "dimension": registration.space.dimension,
            "schema_version": _SCHEMA_VERSION if ttl is None else _SCHEMA_VERSION_TTL,
            VECTOR_FIELD: [0.0, 1.0],
        }
        await self._engine.upsert(self._collection, row)

    async def erase(self, registration: Registration) -> None:
        """Ends a group's existence."""
        await self._engine.delete(self._collection, "key", [_key(registration)])


def _key(registration: Registration) -> str:
    return f"{registration.family}/{registration.name}"


def _registration(row: dict[str, Any]) -> Registration:
    space = EmbeddingSpace(model_id=row["model_id"], dimension=row["dimension"], metric=Metric(row["metric"]))
    created, _, ttl = row["created"].partition(_TTL)
    return Registration(
        family=Family(row["family"]),
        name=row["name"],
        capacity=row["capacity"],
        space=space,
        collection=row["collection"],
        created=created,
        ttl_seconds=int(ttl) if ttl else None,
    )
