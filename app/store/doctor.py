"""Looks through a whole store for what can differ: registry, collections, rows and counts. It changes nothing itself.

Each finding carries its remedy, which the caller may have acted. Nobody else may write meanwhile: what a running
service is just making looks like an orphan, and a remedy could undo its write.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass

from app.errors import LikenessError
from app.store import filters
from app.store.engine import Engine
from app.store.expiry import EXPIRES, Clock, Expiry
from app.store.findings import Finding, Kind, Remedy, rows_in_words, some_of
from app.store.names import holds_rows, registry_name
from app.store.records import EmbeddingSpace, Family, Metric
from app.store.registry import Registration, Registry
from app.store.row_walk import Walked, walk
from app.store.rows import create_collection, shape_of
from app.store.shape import VECTOR_FIELD, Shape

_SLACK_S = 60  # by which the clocks of machines may differ
_REMOVE = "Remove the group through the service and fill it again."
_FLAWS = {
    Kind.FOREIGN_TEXT: "an id or a tag with characters that this service writes otherwise",
    Kind.EMPTY_ID: "an empty id",
    Kind.NO_BOX: "no readable bounding box, so that no listing can show it",
    Kind.UNREADABLE_DESC: "a desc that is no JSON, so that no listing can show it",
    Kind.LATE_END: "a longer time to live than the group has, as when a clock was wrong",
}


@dataclass(slots=True)
class Examined:
    """How much was looked at."""

    groups: int = 0
    rows: int = 0


class Doctor:
    """Examines the groups of one prefix.

    Args:
        engine: where they are kept.
        prefix: first part of the collections' names.
        served: the embedding model that is served for each family, as far as that is known.
        clock: tells the time.
    """

    def __init__(
        self, engine: Engine, prefix: str, served: Mapping[Family, EmbeddingSpace], *, clock: Clock = time.time
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._prefix = prefix
        self._served = served
        self._registry = Registry(engine, registry_name(prefix))
        self.examined = Examined()

    async def findings(self) -> AsyncIterator[Finding]:
        """Everything that is not as it should be, group by group.

        A remedy acts on what was found when it was found: act it before asking for the next finding.

        Raises:
            BackendUnavailable: Milvus does not answer.
        """
        self.examined = Examined()
        collections = sorted(each for each in await self._engine.collections() if holds_rows(self._prefix, each))
        if not await self._registry.exists():
            if collections:
                yield _no_registry(registry_name(self._prefix), collections)
            return
        registrations, unreadable = await self._registry.examine()
        for key in unreadable:
            advice = "It may be of a newer version of Likeness: run that one. Nothing was changed."
            yield Finding(Kind.UNREADABLE_GROUP, key, "the registry's row cannot be read", advice)
        for registration in sorted(registrations, key=_place):
            self.examined.groups += 1
            async for finding in self._group(registration):
                yield finding
        serving = {registration.collection for registration in registrations}
        # What an unreadable row names is not known: then none of them can be called an orphan.
        for collection in [] if unreadable else collections:
            if collection not in serving:
                yield await self._orphan(collection)

    # --- collections ---

    async def _group(self, registration: Registration) -> AsyncIterator[Finding]:
        shape = await self._engine.shape(registration.collection)
        if shape is None:
            yield self._lost(registration)
            return
        wrong = await self._misfit(registration, shape)
        if wrong is not None:
            yield wrong
        expected = shape_of(registration)
        if shape.metric is not None and shape.has_fields_of(expected):
            async for finding in self._rows(registration, _fields(expected)):
                yield finding
        served = self._served.get(registration.family)
        if served is not None and served != registration.space and wrong is None:
            what = (
                f"its embeddings are of the model {registration.space.model_id}, and {served.model_id} is served, so "
                "searches and additions are refused"
            )
            advice = "Serve that model again, or fill a new group from the images. Nothing is lost."
            yield Finding(Kind.OTHER_MODEL, _place(registration), what, advice)

    def _lost(self, registration: Registration) -> Finding:
        what = f"its collection {registration.collection} is not there: its rows are lost"
        remedy = Remedy(
            "would take the group out of the registry; only a backup can bring its rows back",
            "has taken the group out of the registry; only a backup can bring its rows back",
            lambda: self._registry.erase(registration),
        )
        return Finding(Kind.LOST_COLLECTION, _place(registration), what, remedy=remedy)

    async def _orphan(self, collection: str) -> Finding:
        async def drop() -> None:
            registrations, unreadable = await self._registry.examine()
            if not unreadable and collection not in {each.collection for each in registrations}:
                await self._engine.drop(collection)

        number = await self._number(collection)
        held = "rows that cannot be counted" if number is None else rows_in_words(number)
        remedy = Remedy(f"would drop it with {held}", f"has dropped it with {held}", drop)
        what = "the collection belongs to no group: making or removing one ended half-way"
        return Finding(Kind.ORPHAN_COLLECTION, collection, what, remedy=remedy)

    async def _misfit(self, registration: Registration, shape: Shape) -> Finding | None:
        async def make_anew() -> None:
            await self._engine.drop(registration.collection)
            await create_collection(self._engine, registration)

        expected, place, space = shape_of(registration), _place(registration), registration.space
        fields_fit = shape.has_fields_of(expected)
        if fields_fit and (shape.dimension, shape.metric) == (expected.dimension, expected.metric):
            return None
        made_anew = Remedy("would make it anew, as it is empty", "has made it anew, as it was empty", make_anew)
        empty = await self._number(registration.collection) == 0
        if not fields_fit:
            what = f"its collection {registration.collection} has not the fields of a group of {registration.family}s"
            return Finding(Kind.WRONG_FIELDS, place, what, _REMOVE, made_anew if empty else None)
        if shape.metric is None:
            what = f"its collection {registration.collection} has no index on {VECTOR_FIELD}"
            return Finding(Kind.NO_INDEX, place, what, "Build it with a client of Milvus, or restore a backup.")
        what = (
            f"the registry says {space.dimension} dimensions and {space.metric}, but its collection has "
            f"{shape.dimension} and {shape.metric}"
        )
        if empty:
            return Finding(Kind.WRONG_SPACE, place, what, remedy=made_anew)
        if shape.metric not in set(Metric) or shape.dimension is None:
            return Finding(Kind.WRONG_SPACE, place, what, _REMOVE)
        true = dataclasses.replace(space, dimension=shape.dimension, metric=Metric(shape.metric))
        corrected = dataclasses.replace(registration, space=true)
        remedy = Remedy(
            "would correct the registry, so that its rows can be listed; another model than theirs will be refused",
            "has corrected the registry, so that its rows can be listed; another model than theirs will be refused",
            lambda: self._registry.write(corrected),
        )
        return Finding(Kind.WRONG_SPACE, place, what, remedy=remedy)

    async def _number(self, collection: str) -> int | None:
        try:
            return await self._engine.count(collection, "", strong=True)
        except LikenessError:  # one without an index cannot be loaded on a server
            return None

    # --- rows ---

    async def _rows(self, registration: Registration, fields: Sequence[str]) -> AsyncIterator[Finding]:
        end = Expiry(registration.ttl_seconds, self._clock).end(None)
        latest = None if end is None else end + _SLACK_S
        seen = await walk(self._engine, registration.collection, fields, registration.family, latest=latest)
        self.examined.rows += seen.ids
        if seen.duplicates:
            yield self._duplicates(registration, fields, seen)
        if seen.whole and seen.stored != seen.counted:
            what = f"the engine counts {rows_in_words(seen.stored)} in all, and {seen.counted:,} part by part"
            advice = "Make sure that no service writes to it, start Milvus anew, and look again."
            yield Finding(Kind.WRONG_COUNT, _place(registration), what, advice)
        for kind in _FLAWS:
            if ids := seen.flaws.get(kind):
                yield self._flaw(registration, kind, ids)

    def _duplicates(self, registration: Registration, fields: Sequence[str], seen: Walked) -> Finding:
        collection, ids = registration.collection, seen.duplicates

        async def keep_one() -> None:
            for portion in filters.portions(ids):
                for row in await self._full(collection, portion, fields):
                    await self._engine.upsert(collection, row)

        kept = "the row of each id that a listing shows, and deleted the others"
        remedy = Remedy(
            f"would keep {kept.replace('deleted', 'delete')}",
            f"has kept {kept}",
            keep_one,
        )
        what = (
            f"{some_of(ids)} stored more than once: {rows_in_words(seen.stored)} of {seen.ids:,} ids, "
            "so a search may show what a listing does not"
        )
        return Finding(Kind.DUPLICATES, _place(registration), what, remedy=remedy)

    def _flaw(self, registration: Registration, kind: Kind, ids: list[str]) -> Finding:
        collection = registration.collection

        async def delete() -> None:
            for portion in filters.portions(ids):
                await self._engine.delete(collection, "id", portion)

        async def empty_desc() -> None:
            for portion in filters.portions(ids):
                for row in await self._full(collection, portion, _fields(shape_of(registration))):
                    await self._engine.upsert(collection, {**row, "desc": "{"})

        async def shorten() -> None:
            end = Expiry(registration.ttl_seconds, self._clock).end(None)
            for portion in filters.portions(ids):
                for row in await self._full(collection, portion, _fields(shape_of(registration))):
                    await self._engine.upsert(collection, {**row, EXPIRES: end})

        what = f"{rows_in_words(len(ids))} with {_FLAWS[kind]}: {some_of(ids)}"
        if kind is Kind.FOREIGN_TEXT:
            # Milvus Lite cannot delete ids with an apostrophe, and no filter can hold a newline.
            advice = "Another program wrote this: let it write the images through the service instead."
            return Finding(kind, _place(registration), what, advice)
        if kind is Kind.UNREADABLE_DESC:
            remedy = Remedy("would set the desc to {}", "has set the desc to {}", empty_desc)
        elif kind is Kind.LATE_END:
            kept = f"them for {registration.ttl_seconds:,} seconds from now"
            remedy = Remedy(f"would keep {kept}", f"keeps {kept}", shorten)
        else:
            number = rows_in_words(len(ids))
            remedy = Remedy(f"would delete {number}", f"has deleted {number}: add the images again", delete)
        return Finding(kind, _place(registration), what, remedy=remedy)

    async def _full(self, collection: str, ids: Sequence[str], fields: Sequence[str]) -> list[dict[str, object]]:
        names = [*fields, VECTOR_FIELD]
        expression = filters.one_of("id", ids)
        found = await self._engine.query(collection, expression, names, limit=None)
        return [{name: row[name] for name in names} for row in found]


def _fields(shape: Shape) -> list[str]:
    """All fields of a row but the vector."""
    return [*shape.texts, *shape.others]


def _no_registry(name: str, collections: Sequence[str]) -> Finding:
    what = f"the registry of groups is missing, and there are {len(collections)} collections of groups"
    advice = "Restore a backup: nobody else can tell which group each one serves. Nothing was changed."
    return Finding(Kind.NO_REGISTRY, name, what, advice)


def _place(registration: Registration) -> str:
    return f"{registration.family}/{registration.name}"
