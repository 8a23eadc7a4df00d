"""Work in threads: results, failures, and callers who leave."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.services.threads import in_thread


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
