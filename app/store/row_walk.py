"""Walks through every row of a collection and counts beside it, so that rows which no listing shows are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from app.store import filters
from app.store.engine import Engine
from app.store.expiry import EXPIRES
from app.store.findings import Kind
from app.store.records import Family
from app.store.row_check import flaw

_PAGE = 500
_UNWRITABLE = ("\n", "\r")  # a filter cannot hold them


@dataclass(slots=True)
class Walked:
    """What a walk saw.

    Attributes:
        ids: number of distinct ids.
        stored: number of rows that the engine counts, all together.
        counted: number of rows that it counts beside the walk, part by part.
        duplicates: ids of which there is more than one row.
        flaws: ids of rows with a flaw, by what it is.
        whole: whether the walk reached the end.
    """

    ids: int = 0
    stored: int = 0
    counted: int = 0
    duplicates: list[str] = field(default_factory=list)
    flaws: dict[Kind, list[str]] = field(default_factory=dict)
    whole: bool = True


async def walk(
    engine: Engine, collection: str, fields: Sequence[str], family: Family, *, latest: int | None = None
) -> Walked:
    """Walks through a group's collection, whose fields are as they should be.

    Engines answer a query with one row of each id, whatever there is, but count each row. So each page is counted
    too, and where the numbers differ the page is halved until the ids are found.

    Args:
        engine: the connection.
        collection: where the rows are.
        fields: of each row.
        family: of the group.
        latest: when the last of the rows must end; None where they stay.
    """
    # This one waits for what other programs wrote.
    seen = Walked(stored=await engine.count(collection, "", strong=True))
    nameless = await engine.count(collection, filters.equals("id", ""))
    if nameless:
        seen.counted += nameless
        seen.ids += nameless
        seen.flaws[Kind.EMPTY_ID] = [""]
    last = ""
    while True:
        rows = await engine.query(collection, filters.beyond("id", last), fields, limit=_PAGE)
        if not rows:
            return seen
        for row in rows:
            kind = flaw(row, family)
            if kind is None and latest is not None and row[EXPIRES] > latest:
                kind = Kind.LATE_END
            if kind is not None:
                seen.flaws.setdefault(kind, []).append(row["id"])
        ids = [row["id"] for row in rows]
        if any(sign in each for each in ids for sign in _UNWRITABLE):
            seen.whole = False
            return seen
        counted, duplicates = await _counted(engine, collection, ids, last)
        seen.counted += counted
        seen.duplicates += duplicates
        seen.ids += len(ids)
        last = ids[-1]


async def _counted(engine: Engine, collection: str, ids: Sequence[str], after: str) -> tuple[int, list[str]]:
    """How many rows there are beyond ``after`` up to the last of ``ids``, and which ids have more than one."""
    span = filters.all_of(filters.beyond("id", after), filters.up_to("id", ids[-1]))
    number = await engine.count(collection, span)
    if number <= len(ids):
        return number, []
    if len(ids) == 1:
        return number, list(ids)
    half = len(ids) // 2
    _, first = await _counted(engine, collection, ids[:half], after)
    _, second = await _counted(engine, collection, ids[half:], ids[half - 1])
    return number, first + second
