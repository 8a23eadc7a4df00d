"""Requests are admitted or refused at once; work in the background takes what they leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from app.errors import Overloaded
from app.services.admission import Admission


class Background:
    """Tasks that hold places behind the requests until they are told to leave."""

    def __init__(self, admission: Admission, number: int) -> None:
        self.inside = 0
        self.most = 0
        self._admission = admission
        self._leave = asyncio.Semaphore(0)
        self.tasks = [asyncio.create_task(self._hold()) for _ in range(number)]

    async def _hold(self) -> None:
        async with self._admission.behind():
            self.inside += 1
            self.most = max(self.most, self.inside)
            await self._leave.acquire()
            self.inside -= 1

    async def leaves(self, number: int = 1) -> int:
        for _ in range(number):
            self._leave.release()
        for _ in range(10):
            await asyncio.sleep(0)
        return self.inside


@pytest.fixture
async def requests() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


async def test_a_request_beyond_the_permits_is_refused_at_once() -> None:
    admission = Admission(2)
    async with admission.permit(), admission.permit():
        with pytest.raises(Overloaded):
            async with admission.permit():
                pass
        with pytest.raises(Overloaded):
            admission.check()
    admission.check()
    async with admission.permit():
        pass


async def test_each_request_at_work_takes_a_place_from_the_background_down_to_one(requests: AsyncExitStack) -> None:
    admission = Admission(100, behind=4, linger_s=0)
    background = Background(admission, 12)
    assert await background.leaves(0) == 4
    for _ in range(3):
        await requests.enter_async_context(admission.permit())
    assert await background.leaves(3) == 1
    for _ in range(50):
        await requests.enter_async_context(admission.permit())
    assert await background.leaves() == 1
    await requests.aclose()
    assert await background.leaves(0) == 4
    assert await background.leaves(20) == 0
    assert background.most == 4
    await asyncio.gather(*background.tasks)


async def test_the_background_takes_no_permit_from_requests_and_a_cancelled_waiter_no_place() -> None:
    admission = Admission(1, behind=1, linger_s=0)
    background = Background(admission, 3)
    assert await background.leaves(0) == 1
    async with admission.permit():
        background.tasks[1].cancel()
        assert await background.leaves() == 1
    assert await background.leaves(5) == 0
    assert [task.cancelled() for task in background.tasks] == [False, True, False]


async def test_a_request_that_has_ended_counts_for_the_background_a_little_longer() -> None:
    admission = Admission(1, behind=4, linger_s=0.05)
    for _ in range(2):  # its permit is free at once
        async with admission.permit():
            pass
    background = Background(admission, 4)
    assert await background.leaves(0) < 4
    while background.inside < 4:
        await asyncio.sleep(0.01)
    assert await background.leaves(4) == 0
