"""Tries out on a scratch collection whether a server keeps its rows right where the tag is the partition key.

Engines have got this wrong: an upsert in Milvus 2.3.5 puts rows into the wrong partition (milvus issue 30607), Milvus
Lite 2.5.1 refuses filters on a partition key. So what a group does is done once to a few rows, and looked at.
"""

from __future__ import annotations

from contextlib import suppress

import numpy as np

from app.errors import InternalError, LikenessError
from app.store import filters
from app.store.engine import Engine
from app.store.records import Metric
from app.store.shape import VECTOR_FIELD

_PARTITIONS = 16
_TAGS = 8
_ROWS = 24


async def fault_of(engine: Engine, collection: str, *, partitions: int | None = _PARTITIONS) -> str | None:
    """Makes the collection, tries it out and drops it; it stays where that does not succeed.

    Args:
        engine: what is tried.
        collection: a name that is free.
        partitions: number of partitions by tag; None to try the same without a partition key.

    Returns:
        What is wrong with partition keys on this engine, to follow a colon; None where nothing is.

    Raises:
        BackendUnavailable: the engine did not answer to the end.
    """
    trial = _Trial(engine, collection)
    try:
        texts = {"id": 64, "tag": 256}
        await engine.create(collection, texts=texts, dimension=2, metric=Metric.L2, partitions=partitions)
        wrong = await trial.fault()
    except InternalError:
        wrong = "the engine refuses a call (the log says which)"
    finally:
        with suppress(LikenessError):
            await engine.drop(collection)
    return f"{trial.when} {wrong}" if wrong is not None else None


class _Trial:
    """A few rows in the scratch collection, and the tag that each must have."""

    def __init__(self, engine: Engine, collection: str) -> None:
        self._engine = engine
        self._collection = collection
        self._tags: dict[str, str] = {}
        self.when = "at its creation"

    async def fault(self) -> str | None:
        for number in range(_ROWS):
            self._tags[f"{number:02d}"] = f"t{number % _TAGS}"
        self.when = "after an insert"
        await self._engine.insert(self._collection, [_row(*each) for each in self._tags.items()])
        if (wrong := await self._wrong()) is not None:
            return wrong
        self.when = "after an upsert that changed a tag"
        # Each goes to the next tag: most of them to another partition.
        for number in range(_TAGS):
            self._tags[f"{number:02d}"] = f"t{(number + 1) % _TAGS}"
            await self._engine.upsert(self._collection, _row(f"{number:02d}", self._tags[f"{number:02d}"]))
        if (wrong := await self._wrong()) is not None:
            return wrong
        self.when = "after a delete"
        gone = [f"{number:02d}" for number in range(0, _ROWS, 3)]
        await self._engine.delete(self._collection, "id", gone)
        for each in gone:
            del self._tags[each]
        return await self._wrong()

    async def _wrong(self) -> str | None:
        """Compares what is counted, listed and found, in all and in each tag, with what must be there.

        What this session wrote it must see: strong reads would cost a server 0.2 seconds each.
        """
        tags = sorted(set(self._tags.values()))
        for tag in [None, *tags]:
            expected = {id: of for id, of in self._tags.items() if tag in (None, of)}  # noqa: A001
            where = filters.equals("tag", tag) if tag is not None else ""
            place = f"of the tag {tag}" if tag is not None else "in all"
            number = await self._engine.count(self._collection, where)
            if number != len(expected):
                return f"{number} rows {place} are counted where there are {len(expected)}"
            beyond = filters.all_of(filters.beyond("id", ""), where)
            listed = await self._engine.query(self._collection, beyond, ["id", "tag"], limit=2 * _ROWS)
            if {row["id"]: row["tag"] for row in listed} != expected or len(listed) != len(expected):
                return f"the rows {place} are listed wrong"
            [hits] = await self._engine.search(
                self._collection,
                np.array([[0, 1]], np.float32),
                metric=Metric.L2,
                fields=["id", "tag"],
                limit=2 * _ROWS,
                bound=1e9,
                capacity=_ROWS,
                expression=where,
            )
            if {row["id"]: row["tag"] for _, row in hits} != expected or len(hits) != len(expected):
                return f"a search finds the rows {place} wrong"
        return None


def _row(id: str, tag: str) -> dict[str, object]:  # noqa: A002
    return {"id": id, "tag": tag, VECTOR_FIELD: np.array([float(id), 1], np.float32)}
