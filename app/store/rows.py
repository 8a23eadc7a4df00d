"""The rows of one group: Milvus calls only, without locks, counters or the registry."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import IdExists
from app.store import desc, filters, keys
from app.store.engine import Engine
from app.store.expiry import EXPIRES, Clock, Ended, Expiry, Found
from app.store.merged_searches import Measured, MergedSearches, SearchTerms
from app.store.records import BoundingBox, Embeddings, EmbeddingSpace, Family, Held, Hit, Metric, Page, Record, Row
from app.store.registry import Registration
from app.store.shape import VECTOR_FIELD, Shape

_TEXTS = {"id": 4096, "tag": 256, "desc": desc.MAX_STORED_BYTES}
_FACE_TEXTS = _TEXTS | {"bounding_box": 1024}
_TAGS_PER_SCAN = 8000  # ids and tags at their longest: 35 MB, under a server's 64 MiB
_ROWS_PER_QUERY = 500


def _texts(family: Family) -> dict[str, int]:
    return _FACE_TEXTS if family is Family.FACE else _TEXTS


def shape_of(registration: Registration) -> Shape:
    """What the collection of a group must look like."""
    space = registration.space
    others = _integers(registration)
    return Shape("id", _texts(registration.family), others, space.dimension, space.metric.value)


def _integers(registration: Registration) -> tuple[str, ...]:
    return () if registration.ttl_seconds is None else (EXPIRES,)


async def create_collection(engine: Engine, registration: Registration, *, partitions: int | None = None) -> None:
    """Makes the empty collection that will hold a group's rows, with so many partitions by tag, or without."""
    await engine.create(
        registration.collection,
        texts=_texts(registration.family),
        integers=_integers(registration),
        dimension=registration.space.dimension,
        metric=registration.space.metric,
        index=engine.profile.index,
        partitions=partitions,
    )


class Rows:
    """Rows in the collection of one group; those whose time is over are in no answer, but for what asks for them.

    Args:
        engine: the connection.
        registration: of the group.
        clock: tells the time, for groups whose rows end.
    """

    def __init__(self, engine: Engine, registration: Registration, *, clock: Clock = time.time) -> None:
        self._engine = engine
        self._collection = registration.collection
        self._space = registration.space
        self._capacity = registration.capacity
        self._face = registration.family is Family.FACE
        self.expiry = Expiry(registration.ttl_seconds, clock)
        self._fields = [*_texts(registration.family), *self.expiry.fields]
        self._searches = MergedSearches(self._ask, self._space.metric, engine.profile)

    async def tags_of(self, ids: Sequence[str]) -> dict[str, str]:
        """The tag of each of these ids that is there."""
        return (await self.found(ids)).tags

    async def found(self, ids: Sequence[str]) -> Found:
        """What is stored under these ids."""
        tags: dict[str, str] = {}
        over: list[Ended] = []
        fields = ["id", "tag", *self.expiry.fields]
        for portion in filters.portions([keys.stored(each) for each in ids]):
            rows = await self._engine.query(self._collection, filters.one_of("id", portion), fields, limit=None)
            for row in rows:
                if self.expiry.is_over(row.get(EXPIRES)):
                    over.append(Ended(row["id"], row["tag"], row[EXPIRES]))
                else:
                    tags[keys.restored(row["id"])] = keys.restored(row["tag"])
        return Found(tags, over)

    async def row(self, id: str) -> Row | None:  # noqa: A002
        """The row of that id, if there is one."""
        expression = filters.all_of(filters.equals("id", keys.stored(id)), self.expiry.alive())
        found = await self._engine.query(self._collection, expression, self._fields, limit=1)
        return self._decoded(found[0]) if found else None

    async def insert(self, records: Sequence[Record]) -> None:
        """Adds rows whose ids are known to be free, all or none."""
        await self._engine.insert(self._collection, [self._encoded(record) for record in records])

    async def require_new(self, ids: Sequence[str]) -> list[Ended]:
        """Makes sure that rows of these ids can be added, once those are cleared away that it returns.

        Raises:
            IdExists: one is there, or twice among them; ``index`` says which.
        """
        found = await self.found(ids)
        taken = set(found.tags)
        for index, each in enumerate(ids):
            if each in taken:
                raise IdExists(index=index)
            taken.add(each)
        return found.over

    async def replace(self, record: Record) -> None:
        """Replaces the row of the same id."""
        await self._engine.upsert(self._collection, self._encoded(record))

    async def delete(self, ids: Sequence[str]) -> None:
        """Deletes rows that are known to be there."""
        for portion in filters.portions([keys.stored(each) for each in ids]):
            await self._engine.delete(self._collection, "id", portion)

    async def ended(self, *, limit: int) -> list[Ended]:
        """Some of the rows that are stored though their time is over."""
        if self.expiry.ttl_seconds is None:
            return []
        expression = filters.at_most(EXPIRES, self.expiry.now())
        rows = await self._engine.query(self._collection, expression, ["id", "tag", EXPIRES], limit=limit)
        return [Ended(row["id"], row["tag"], row[EXPIRES]) for row in rows]

    async def clear(self, ended: Sequence[Ended]) -> None:
        """Deletes what ``ended`` or ``found`` tells of."""
        for portion in filters.portions([each.id for each in ended]):
            await self._engine.delete(self._collection, "id", portion)

    async def page(self, *, tag: str | None, after: str | None, limit: int) -> Page[Row]:
        """The next ``limit`` rows after the id ``after``, in the byte order of ``keys.stored``."""
        of_tag = filters.equals("tag", keys.stored(tag)) if tag is not None else ""
        which = filters.all_of(of_tag, self.expiry.alive())
        last = keys.stored(after) if after is not None else ""
        rows: list[Row] = []
        while len(rows) <= limit:
            size = min(_ROWS_PER_QUERY, limit + 1 - len(rows))
            expression = filters.all_of(filters.beyond("id", last), which)
            found = await self._engine.query(self._collection, expression, self._fields, limit=size)
            if not found:
                break
            rows += map(self._decoded, found)
            last = found[-1]["id"]
        return Page(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)

    async def of_ids(self, ids: Iterable[str]) -> dict[str, Row]:
        """The rows of these ids that are there, by id."""
        found = await self._full(map(keys.stored, ids), self.expiry.alive())
        return {row.id: row for row in map(self._decoded, found.values())}

    async def embeddings(self, *, after: str | None, limit: int) -> Embeddings:
        """The embeddings of the next ``limit`` rows after the id ``after``, in the byte order of ``keys.stored``."""
        last = keys.stored(after) if after is not None else ""
        ids: list[str] = []
        tags: list[str] = []
        parts = [np.empty((0, self._space.dimension), np.float32)]
        most = self._engine.profile.embeddings_per_answer
        while (size := min(most, limit - len(ids))) > 0:
            expression = filters.all_of(filters.beyond("id", last), self.expiry.alive())
            found = await self._engine.query(self._collection, expression, ["id", "tag", VECTOR_FIELD], limit=size)
            if not found:
                return Embeddings(ids, tags, np.concatenate(parts), None)
            ids += [keys.restored(row["id"]) for row in found]
            tags += [keys.restored(row["tag"]) for row in found]
            parts.append(np.array([row[VECTOR_FIELD] for row in found], np.float32))
            last = found[-1]["id"]
        return Embeddings(ids, tags, np.concatenate(parts), ids[-1])

    async def records(self, *, after: str | None, limit: int, held: Held | None = None) -> Page[Record]:
        """As ``page``, with embeddings: at most ``limit`` rows, in one answer of the engine at most.

        Args:
            after: the id to go on from.
            limit: most rows.
            held: only what is held under these ids and tags.
        """
        last = keys.stored(after) if after is not None else ""
        size = min(limit, _ROWS_PER_QUERY, self._engine.profile.embeddings_per_answer)
        which = _held_under(held) if held is not None else ""
        expression = filters.all_of(filters.beyond("id", last), which, self.expiry.alive())
        found = await self._engine.query(self._collection, expression, [*self._fields, VECTOR_FIELD], limit=size)
        # A repeated insert after a lost connection can leave two rows of one id: they count as one.
        rows = {row["id"]: row for row in found}.values()
        records = [
            Record(self._decoded(row), np.array(row[VECTOR_FIELD], np.float32), row.get(EXPIRES)) for row in rows
        ]
        return Page(records, records[-1].row.id if len(found) == size else None)

    async def scan_tags(self, *, since: int | None = None, until: int) -> AsyncIterator[str]:
        """The tag of every row, each row once.

        Args:
            since: only rows whose time was not over then; None for all whose time is not over at ``until``.
            until: only rows whose time is over then, where ``since`` is given.
        """
        last = ""
        which = self.expiry.alive(until)
        if since is not None:
            which = filters.all_of(self.expiry.alive(since), filters.at_most(EXPIRES, until))
        strong = True  # also what an earlier process wrote just before it ended
        while True:
            expression = filters.all_of(filters.beyond("id", last), which)
            rows = await self._engine.query(
                self._collection, expression, ["id", "tag"], limit=_TAGS_PER_SCAN, strong=strong
            )
            if not rows:
                return
            # Another program may have left two rows of one id: they count as one.
            for identity, tag in {row["id"]: row["tag"] for row in rows}.items():
                yield keys.restored(tag)
                last = identity
            strong = False

    async def search(
        self, vectors: NDArray[np.float32], *, limit: int, bound: float, tags: Collection[str] = ()
    ) -> list[list[Hit]]:
        """See ``GroupStore.search``."""
        checked(vectors, self._space)
        of_tags = filters.one_of("tag", [keys.stored(each) for each in tags]) if tags else ""
        which = filters.all_of(of_tags, self.expiry.alive())
        per_call = max(1, self._engine.profile.ids_per_answer // (limit + 1))
        found: list[Measured] = []
        for start in range(0, len(vectors), per_call):
            found += await self._nearest(vectors[start : start + per_call], limit=limit, bound=bound, which=which)
        bare = {row["id"] for hits in found for _, row in hits if "tag" not in row}
        full = await self._full(bare)
        return [[Hit(self._decoded(full.get(row["id"], row)), measure) for measure, row in hits] for hits in found]

    async def _nearest(self, vectors: NDArray[np.float32], *, limit: int, bound: float, which: str) -> list[Measured]:
        # One more than asked for: where it ties with the last, the engine cut through equal measures in an order of
        # its own, and more rows must come before the ties can be ordered by id.
        most = self._engine.profile.max_results
        answer = await self._merged(vectors, size=min(limit + 1, most), bound=bound, which=which)
        for query, hits in enumerate(answer):
            size, more = limit + 1, hits
            while len(more) == size < most and more[-1][0] == more[limit - 1][0]:
                size = min(size * 4, most)
                (more,) = await self._merged(vectors[query : query + 1], size=size, bound=bound, which=which)
            answer[query] = self._ordered(more, limit=limit, bound=bound)
        return answer

    async def _merged(self, vectors: NDArray[np.float32], *, size: int, bound: float, which: str) -> list[Measured]:
        # Full rows at once where the answer cannot grow too large; else ids, and later the rows inside the bound.
        whole = len(vectors) * size <= self._engine.profile.rows_per_answer
        return await self._searches.search(SearchTerms(size, whole, which), vectors, bound)

    async def _ask(self, terms: SearchTerms, vectors: NDArray[np.float32], bound: float) -> list[Measured]:
        return await self._engine.search(
            self._collection,
            vectors,
            metric=self._space.metric,
            fields=self._fields if terms.whole else ["id"],
            limit=terms.size,
            bound=bound,
            capacity=self._capacity,
            expression=terms.expression,
        )

    def _ordered(self, hits: Measured, *, limit: int, bound: float) -> Measured:
        if self._space.metric is Metric.L2:
            measured = [(max(square, 0.0) ** 0.5, row) for square, row in hits]
            return sorted((m for m in measured if m[0] <= bound), key=lambda m: (m[0], keys.restored(m[1]["id"])))[
                :limit
            ]
        measured = [(min(max(cosine, -1.0), 1.0), row) for cosine, row in hits]
        return sorted((m for m in measured if m[0] >= bound), key=lambda m: (-m[0], keys.restored(m[1]["id"])))[:limit]

    async def _full(self, ids: Iterable[str], alive: str = "") -> dict[str, dict[str, Any]]:
        rows: dict[str, dict[str, Any]] = {}
        for portion in filters.portions(sorted(ids)):
            expression = filters.all_of(filters.one_of("id", portion), alive)
            found = await self._engine.query(self._collection, expression, self._fields, limit=None)
            rows.update((row["id"], row) for row in found)
        return rows

    def _encoded(self, record: Record) -> dict[str, object]:
        checked(record.embedding[np.newaxis], self._space)
        row = record.row
        fields: dict[str, object] = {
            "id": keys.stored(row.id),
            "tag": keys.stored(row.tag),
            "desc": desc.stored(row.desc),
        }
        if self._face:
            box = row.bounding_box
            fields["bounding_box"] = json.dumps({"pts": box.pts, "score": box.score}) if box is not None else ""
        expires = self.expiry.end(record.expires)
        if expires is not None:
            fields[EXPIRES] = expires
        return fields | {VECTOR_FIELD: record.embedding}

    def _decoded(self, fields: dict[str, Any]) -> Row:
        box = None
        if self._face and fields["bounding_box"]:
            kept = json.loads(fields["bounding_box"])
            box = BoundingBox(tuple((x, y) for x, y in kept["pts"]), kept["score"])
        return Row(keys.restored(fields["id"]), keys.restored(fields["tag"]), desc.restored(fields["desc"]), box)


def _held_under(held: Held) -> str:
    fields = (("id", held.ids), ("tag", held.tags))
    return filters.any_of(*(filters.one_of(name, list(map(keys.stored, texts))) for name, texts in fields if texts))


def checked(vectors: NDArray[np.float32], space: EmbeddingSpace) -> None:
    """Refuses what an engine would take and then never find: NaN, infinity, zero length, the wrong dimension.

    Raises:
        ValueError: the embedding model or the code before this is broken.
    """
    if vectors.ndim != 2 or vectors.shape[1] != space.dimension or vectors.dtype != np.float32:
        raise ValueError(f"embeddings must be float32 [N, {space.dimension}], not {vectors.dtype} {vectors.shape}")
    if not np.isfinite(vectors).all() or not vectors.any(axis=1).all():
        raise ValueError("an embedding is not finite, or zero")
