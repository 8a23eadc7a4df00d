"""Batches that are not full wait for company while every core is busy and has one more to come, and for nothing else."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.errors import Closing
from app.inference.batcher import MicroBatcher, Outputs
from app.inference.cores import Gathering, SharedCores

FOREVER_S = 3600.0


class Model:
    """Answers with its input, once it is let."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.gate = asyncio.Event()

    async def run(self, batch: NDArray[Any]) -> Outputs:
        self.batches.append(len(batch))
        await self.gate.wait()
        return {"SAME": batch}


class Machine:
    """Two models, each with one instance, on one core."""

    second: asyncio.Task[Outputs]

    def __init__(self, *, seconds: float = FOREVER_S, cores: int = 1) -> None:
        self.shared = SharedCores()
        self.large, self.small = Model(), Model()
        gathering = Gathering(self.shared, lambda: cores, seconds)
        self.of_large, self.of_small = (
            MicroBatcher(model.run, max_batch=most, max_waiting=100, in_flight=lambda: 3, gathering=gathering)
            for model, most in ((self.large, 3), (self.small, 4))
        )

    async def busy(self) -> asyncio.Task[Outputs]:
        """Has the large model work on one batch until its gate opens, with a second one behind it; gives the first."""
        tasks = []
        for _ in range(2):
            tasks.append(asyncio.create_task(self.of_large.submit(np.zeros(1))))
            await turns()
        assert self.large.batches == [1, 1]
        self.second = tasks[1]
        return tasks[0]

    async def waiting(self, count: int = 1) -> list[asyncio.Task[Outputs]]:
        """Gives the small model something to do."""
        tasks = [asyncio.create_task(self.of_small.submit(np.full(1, n))) for n in range(count)]
        await turns()
        return tasks


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_an_item_goes_at_once_while_a_core_has_nothing_to_do_next() -> None:
    machine = Machine(cores=2)
    await machine.busy()
    await machine.waiting()
    assert machine.small.batches == [1]


async def test_while_all_cores_are_busy_items_gather_until_another_models_batch_is_done() -> None:
    machine = Machine()
    at_work = await machine.busy()
    first = await machine.waiting()
    second = await machine.waiting()
    assert machine.small.batches == []
    assert machine.of_small.waiting == 2
    machine.large.gate.set()
    await asyncio.gather(at_work, machine.second)
    await turns()
    assert machine.small.batches == [2]
    machine.small.gate.set()
    assert [answer["SAME"].tolist() for answer in await asyncio.gather(*first, *second)] == [[0], [0]]
    assert machine.shared.at_work == 0


async def test_a_full_batch_waits_for_no_core() -> None:
    machine = Machine()
    await machine.busy()
    await machine.waiting(5)
    assert machine.small.batches == [4]
    assert machine.of_small.waiting == 1


async def test_an_item_that_can_have_little_company_never_waits_for_it() -> None:
    machine = Machine()
    await machine.busy()
    second = asyncio.create_task(machine.of_large.submit(np.zeros(1)))
    await turns()
    assert machine.large.batches == [1, 1, 1]
    machine.large.gate.set()
    await second


async def test_an_item_waits_for_company_no_longer_than_it_may() -> None:
    machine = Machine(seconds=0.01)
    at_work = await machine.busy()
    machine.small.gate.set()
    [waiting] = await machine.waiting()
    await waiting
    assert machine.small.batches == [1]
    assert not at_work.done()


async def test_a_batch_that_fails_frees_its_core() -> None:
    machine = Machine()

    async def fails(_: NDArray[Any]) -> Outputs:
        message = "broken"
        raise RuntimeError(message)

    failing = MicroBatcher(
        fails,
        max_batch=1,
        max_waiting=1,
        in_flight=lambda: 1,
        gathering=Gathering(machine.shared, lambda: 1, FOREVER_S),
    )
    with pytest.raises(RuntimeError):
        await failing.submit(np.zeros(1))
    await turns()
    assert machine.shared.at_work == 0
    await machine.waiting()
    assert machine.small.batches == [1]


async def test_a_caller_who_leaves_while_items_gather_leaves_the_others_alone() -> None:
    machine = Machine()
    await machine.busy()
    gone, stays = await machine.waiting(2)
    gone.cancel()
    await turns()
    assert machine.of_small.waiting == 1
    machine.large.gate.set()
    machine.small.gate.set()
    assert (await stays)["SAME"].tolist() == [1]
    assert machine.small.batches == [1]


async def test_closing_refuses_what_gathers_and_ends_with_the_other_models_at_work() -> None:
    machine = Machine()
    at_work = await machine.busy()
    [waiting] = await machine.waiting()
    await machine.of_small.close(timeout=0)
    with pytest.raises(Closing):
        await waiting
    await machine.of_small.close(timeout=0)  # twice does no harm
    machine.large.gate.set()
    await at_work
    assert machine.small.batches == []


async def test_no_core_is_left_once_each_has_a_batch_and_of_models_elsewhere_nobody_knows() -> None:
    own, elsewhere = SharedCores(2), SharedCores()
    seen = []
    for _ in range(3):
        seen.append((own.none_is_left, elsewhere.none_is_left))
        own.take()
        elsewhere.take()
    assert seen == [(False, False), (False, False), (True, False)]
    own.give_back()
    own.give_back()
    assert not own.none_is_left
