"""Work in threads: results, failures, and callers who leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from app.services.threads import SMALL, PixelThreads, in_thread


@pytest.fixture
def one_thread() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as threads:
        yield threads


async def test_the_result_or_the_failure_of_the_work_is_the_callers(one_thread: ThreadPoolExecutor) -> None:
    assert await in_thread(one_thread, threading.get_ident) != threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        await in_thread(one_thread, lambda: 1 // 0)


async def test_a_cancelled_caller_leaves_only_after_work_that_has_begun(one_thread: ThreadPoolExecutor) -> None:
    begun, released, ended = threading.Event(), threading.Event(), []

    def work() -> None:
        begun.set()
        released.wait(60)
        ended.append("work")

    caller = asyncio.create_task(in_thread(one_thread, work))
    await asyncio.to_thread(begun.wait, 60)
    caller.cancel()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not caller.done()
    released.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended == ["work"]


async def test_work_that_has_not_begun_is_dropped_with_its_caller(one_thread: ThreadPoolExecutor) -> None:
    begun, released, ended = threading.Event(), threading.Event(), []

    def first() -> None:
        begun.set()
        released.wait(60)

    busy = asyncio.create_task(in_thread(one_thread, first))
    await asyncio.to_thread(begun.wait, 60)
    waiting = asyncio.create_task(in_thread(one_thread, lambda: ended.append("work")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    released.set()
    await busy
    assert ended == []


@pytest.mark.parametrize(
    ("crowded", "values", "goes"), [(False, 1, True), (True, SMALL + 1, True), (True, SMALL, False)]
)
async def test_only_small_images_stay_out_of_threads_and_only_while_no_core_is_free(
    one_thread: ThreadPoolExecutor, *, crowded: bool, values: int, goes: bool
) -> None:
    threads = PixelThreads(one_thread, lambda: crowded)
    worker = await threads.run_on(np.zeros(values, np.uint8), threading.get_ident)
    assert (worker != threading.get_ident()) == goes


async def test_many_small_images_in_a_row_leave_others_their_turn(one_thread: ThreadPoolExecutor) -> None:
    threads, done = PixelThreads(one_thread, lambda: True), []

    async def work(name: str) -> None:
        for number in range(3):
            await threads.run_on(np.zeros(1, np.uint8), lambda: done.append(f"{name}{number}"))  # noqa: B023

    await asyncio.gather(work("a"), work("b"))
    assert done == ["a0", "b0", "a1", "b1", "a2", "b2"]


async def test_a_failure_on_a_small_image_is_the_callers(one_thread: ThreadPoolExecutor) -> None:
    with pytest.raises(ZeroDivisionError):
        await PixelThreads(one_thread, lambda: True).run_on(np.zeros(1, np.uint8), lambda: 1 // 0)
