"""The micro-batcher: sharing, order, back-pressure, cancellation and closing."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.errors import BackendUnavailable, Closing, Overloaded
from app.inference.batcher import MicroBatcher, Outputs


class Model:
    """A model that doubles its input, when it is let."""

    def __init__(self, *, open_gate: bool = True) -> None:
        self.batches: list[tuple[int, ...]] = []
        self.cancelled = 0
        self.gate = asyncio.Event()
        if open_gate:
            self.gate.set()

    async def run(self, batch: NDArray[Any]) -> Outputs:
        self.batches.append(batch.shape)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if (batch == 13).any():
            message = "unlucky"
            raise BackendUnavailable(message)
        return {"DOUBLE": batch * 2}


def batcher(model: Model, *, max_batch: int = 4, max_waiting: int = 100, in_flight: int = 1) -> MicroBatcher:
    return MicroBatcher(model.run, max_batch=max_batch, max_waiting=max_waiting, in_flight=lambda: in_flight)


def item(value: int, size: int = 1) -> NDArray[np.int64]:
    return np.full(size, value)


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_items_submitted_together_share_one_batch_and_each_gets_its_own_answer() -> None:
    model = Model()
    answers = await asyncio.gather(*(batcher_.submit(item(n)) for batcher_ in [batcher(model)] for n in range(4)))
    assert model.batches == [(4, 1)]
    assert [answer["DOUBLE"].tolist() for answer in answers] == [[0], [2], [4], [6]]


async def test_a_batch_is_never_larger_than_the_model_takes() -> None:
    model = Model()
    under_test = batcher(model, max_batch=4)
    await asyncio.gather(*(under_test.submit(item(n)) for n in range(10)))
    assert model.batches == [(4, 1), (4, 1), (2, 1)]


async def test_items_of_different_shapes_never_share_a_batch() -> None:
    model = Model()
    under_test = batcher(model)
    await asyncio.gather(*(under_test.submit(item(1, size)) for size in (1, 2, 1, 2)))
    assert sorted(model.batches) == [(2, 1), (2, 2)]


async def test_what_arrives_while_the_model_works_gathers_into_the_next_batch() -> None:
    model = Model(open_gate=False)
    under_test = batcher(model)
    first = asyncio.create_task(under_test.submit(item(1)))
    await turns()
    rest = [asyncio.create_task(under_test.submit(item(n))) for n in (2, 3, 4)]
    await turns()
    assert model.batches == [(1, 1)]
    model.gate.set()
    await asyncio.gather(first, *rest)
    assert model.batches == [(1, 1), (3, 1)]


async def test_several_batches_are_in_flight_at_the_same_time_and_no_more_than_allowed() -> None:
    model = Model(open_gate=False)
    under_test = batcher(model, max_batch=1, in_flight=3)
    tasks = [asyncio.create_task(under_test.submit(item(n))) for n in range(5)]
    await turns()
    assert len(model.batches) == 3
    model.gate.set()
    await asyncio.gather(*tasks)
    assert len(model.batches) == 5


async def test_a_full_queue_refuses_at_once_and_serves_those_who_waited() -> None:
    model = Model(open_gate=False)
    under_test = batcher(model, max_batch=1, max_waiting=2)
    at_work = asyncio.create_task(under_test.submit(item(1)))
    await turns()
    waiting = [asyncio.create_task(under_test.submit(item(n))) for n in (2, 3)]
    await turns()
    with pytest.raises(Overloaded):
        await under_test.submit(item(4))
    model.gate.set()
    answers = await asyncio.gather(at_work, *waiting)
    assert [int(answer["DOUBLE"][0]) for answer in answers] == [2, 4, 6]


async def test_a_cancelled_caller_is_dropped_before_its_batch_and_frees_its_place() -> None:
    model = Model(open_gate=False)
    under_test = batcher(model, max_batch=4, max_waiting=1)
    at_work = asyncio.create_task(under_test.submit(item(1)))
    await turns()
    gone = asyncio.create_task(under_test.submit(item(2)))
    await turns()
    gone.cancel()
    await turns()
    assert under_test.waiting == 0
    stayed = asyncio.create_task(under_test.submit(item(3)))
    await turns()
    model.gate.set()
    await asyncio.gather(at_work, stayed)
    assert model.batches == [(1, 1), (1, 1)]


async def test_a_cancelled_caller_behind_others_of_its_shape_is_dropped_too() -> None:
    model = Model(open_gate=False)
    under_test = batcher(model, max_batch=1)
    at_work, waits, gone = (asyncio.create_task(under_test.submit(item(n, size=3))) for n in (1, 2, 3))
    await turns()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert under_test.waiting == 1
    model.gate.set()
    await asyncio.gather(at_work, waits)
    assert model.batches == [(1, 3), (1, 3)]


async def test_a_batch_whose_callers_have_all_gone_is_cancelled() -> None:
    model = Model(open_gate=False)
    under_test = batcher(model)
    gone = [asyncio.create_task(under_test.submit(item(n))) for n in (1, 2)]
    await turns()
    for task in gone:
        task.cancel()
    await turns()
    assert model.cancelled == 1
    model.gate.set()
    assert int((await under_test.submit(item(3)))["DOUBLE"][0]) == 6


async def test_one_caller_who_stays_keeps_its_batch_alive() -> None:
    model = Model(open_gate=False)
    under_test = batcher(model)
    stays, goes = (asyncio.create_task(under_test.submit(item(n))) for n in (1, 2))
    await turns()
    goes.cancel()
    await turns()
    model.gate.set()
    assert int((await stays)["DOUBLE"][0]) == 2
    assert model.cancelled == 0


async def test_a_failed_batch_fails_its_own_callers_only_each_with_an_error_of_its_own() -> None:
    model = Model()
    under_test = batcher(model, max_batch=2)
    outcomes = await asyncio.gather(*(under_test.submit(item(n)) for n in (13, 1, 2, 3)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [BackendUnavailable, BackendUnavailable, dict, dict]
    assert outcomes[0] is not outcomes[1]


async def test_the_cause_of_a_failed_batch_stays_known_for_the_log() -> None:
    async def run(batch: NDArray[Any]) -> Outputs:
        message = "no answer"
        raise BackendUnavailable(message) from OSError("connection refused")

    with pytest.raises(BackendUnavailable) as caught:
        await MicroBatcher(run, max_batch=1, max_waiting=1, in_flight=lambda: 1).submit(item(1))
    assert str(caught.value.__cause__) == "connection refused"


async def test_closing_refuses_those_who_wait_and_lets_the_batch_at_work_finish() -> None:
    model = Model(open_gate=False)
    under_test = batcher(model, max_batch=1)
    at_work, waits = (asyncio.create_task(under_test.submit(item(n))) for n in (1, 2))
    await turns()
    closing = asyncio.create_task(under_test.close(timeout=5))
    await turns()
    with pytest.raises(Closing):
        await waits
    with pytest.raises(Closing):
        await under_test.submit(item(3))
    model.gate.set()
    assert int((await at_work)["DOUBLE"][0]) == 2
    await closing


async def test_closing_answers_the_callers_of_a_batch_that_does_not_end() -> None:
    model = Model(open_gate=False)
    under_test = batcher(model)
    stuck = asyncio.create_task(under_test.submit(item(1)))
    await turns()
    await under_test.close(timeout=0)
    with pytest.raises(Closing):
        await stuck
    assert model.cancelled == 1


async def test_what_waits_is_spread_over_idle_instances() -> None:
    model = Model()
    spread = MicroBatcher(model.run, max_batch=8, max_waiting=100, in_flight=lambda: 3, instances=2)
    await asyncio.gather(*(spread.submit(item(n)) for n in range(7)))
    assert model.batches == [(4, 1), (3, 1)]


async def test_large_items_go_alone_where_small_ones_share_a_batch() -> None:
    model = Model()
    bounded = MicroBatcher(model.run, max_batch=8, max_waiting=100, in_flight=lambda: 9, max_values=40)
    sizes = (10, 30, 10, 30, 50, 10)
    answers = await asyncio.gather(*(bounded.submit(item(size, size)) for size in sizes))
    assert model.batches == [(3, 10), (1, 30), (1, 50), (1, 30)]
    assert [len(answer["DOUBLE"]) for answer in answers] == list(sizes)
