"""Sixteen workers on one group at once: each answer is one that an order of their calls explains."""

from __future__ import annotations

import pytest

from app.store.groups import GroupStore
from loadtest.hammer_group import Hammer

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_many_workers_on_one_group_see_and_leave_nothing_but_what_they_wrote(
    store: GroupStore, filled: str
) -> None:
    hammer = Hammer(store, filled, workers=16, seed=7)
    for _ in range(2):
        await hammer.round(calls=15)
    assert set(hammer.done) == {"add", "update", "delete", "race", "clash", "list", "search", "one"}
