"""The budget of bytes."""

from __future__ import annotations

import asyncio

import pytest

from app.errors import Overloaded
from app.services.budget import MemoryBudget


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def hold(budget: MemoryBudget, size: int, log: list[int], leave: asyncio.Event) -> None:
    async with budget.hold(size):
        log.append(size)
        await leave.wait()


async def test_holders_wait_until_enough_is_free_and_come_in_order() -> None:
    budget, log, leave = MemoryBudget(10), list[int](), asyncio.Event()
    tasks = [asyncio.create_task(hold(budget, size, log, leave)) for size in (6, 8, 1)]
    await turns()
    assert log == [6], "a small wish does not overtake a large one, which would starve it"
    leave.set()
    await asyncio.gather(*tasks)
    assert log == [6, 8, 1]
    assert budget.free == 10


async def test_a_wish_over_the_whole_budget_gets_its_turn_alone() -> None:
    budget, log, leave = MemoryBudget(10), list[int](), asyncio.Event()
    tasks = [asyncio.create_task(hold(budget, size, log, leave)) for size in (1, 99)]
    await turns()
    assert log == [1]
    leave.set()
    await asyncio.gather(*tasks)
    assert log == [1, 99]
    assert budget.free == 10


async def test_a_holder_cancelled_while_waiting_lets_the_next_one_in() -> None:
    budget, log, leave = MemoryBudget(10), list[int](), asyncio.Event()
    first = asyncio.create_task(hold(budget, 6, log, leave))
    blocked = asyncio.create_task(hold(budget, 8, log, leave))
    small = asyncio.create_task(hold(budget, 2, log, leave))
    await turns()
    blocked.cancel()
    await turns()
    assert log == [6, 2]
    leave.set()
    await asyncio.gather(first, small)
    assert budget.free == 10


async def test_a_holder_cancelled_in_the_turn_of_its_grant_gives_the_bytes_back() -> None:
    budget, log, leave = MemoryBudget(10), list[int](), asyncio.Event()
    budget.take(10)
    waits = asyncio.create_task(hold(budget, 4, log, leave))
    await turns()
    budget.give_back(10)
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert budget.free == 10


@pytest.mark.parametrize("back_first", [True, False])
async def test_a_waiter_cancelled_in_the_turn_in_which_bytes_come_back_ends_quietly(*, back_first: bool) -> None:
    budget, log, leave = MemoryBudget(10), list[int](), asyncio.Event()
    budget.take(10)
    waits = asyncio.create_task(hold(budget, 4, log, leave))
    await turns()
    if back_first:
        budget.give_back(10)
    waits.cancel()
    if not back_first:
        budget.give_back(10)
    with pytest.raises(asyncio.CancelledError):
        await waits
    assert (log, budget.free) == ([], 10)


async def test_what_cannot_wait_is_refused_when_the_bytes_are_taken() -> None:
    budget = MemoryBudget(10)
    budget.take(7)
    with pytest.raises(Overloaded):
        budget.take(4)
    budget.give_back(7)
    budget.take(10)
    assert budget.free == 0
