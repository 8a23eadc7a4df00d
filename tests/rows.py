"""Rows for the contract of the store, and walking through pages of them."""

from __future__ import annotations

import numpy as np

from app.store.groups import GroupStore
from app.store.records import Family, Record, Row


def record(name: str, *, tag: str = "default", desc: str = "{}", at: float = 1.0) -> Record:
    return Record(Row(name, tag, desc, None), np.array([at, 1, 0, 0], np.float32))


async def walk(store: GroupStore, group: str, *, tag: str | None = None, limit: int) -> list[Row]:
    rows: list[Row] = []
    after: str | None = None
    while True:
        page = await store.rows(Family.IMAGE, group, tag=tag, after=after, limit=limit)
        assert len(page.items) <= limit
        rows += page.items
        if page.after is None:
            return rows
        assert page.after == page.items[-1].id
        after = page.after
