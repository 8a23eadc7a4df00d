"""Where the time of a request goes."""

from __future__ import annotations

import asyncio

import pytest

from app import stages
from app.stages import Stage, stage, stopwatch


class Clock:
    """Time that the test lets pass."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def perf_counter(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(stages, "time", made)
    return made


def test_a_stage_takes_what_passes_in_it_and_one_that_never_began_is_not_named(clock: Clock) -> None:
    with stopwatch() as watch:
        for _ in range(2):
            with stage(Stage.FETCH):
                clock.seconds += 0.25
            clock.seconds += 1
        with stage(Stage.EMBED):
            clock.seconds += 0.5
    assert watch.milliseconds == {Stage.FETCH: 500, Stage.EMBED: 500}
    assert watch.total_milliseconds == 3000


async def test_work_side_by_side_counts_once(clock: Clock) -> None:
    both_began = asyncio.Event()

    async def first() -> None:
        with stage(Stage.DETECT):
            clock.seconds += 1
            await both_began.wait()
            clock.seconds += 1

    async def second() -> None:
        with stage(Stage.DETECT):
            clock.seconds += 1
            both_began.set()

    with stopwatch() as watch:
        await asyncio.gather(first(), second())
    assert watch.milliseconds == {Stage.DETECT: 3000}


async def test_requests_at_the_same_time_are_measured_apart(clock: Clock) -> None:
    async def request(seconds: float) -> float:
        with stopwatch() as watch:
            await asyncio.sleep(0)
            with stage(Stage.SEARCH):
                clock.seconds += seconds
            await asyncio.sleep(0)
        return watch.milliseconds[Stage.SEARCH]

    assert list(await asyncio.gather(request(1), request(2))) == [1000, 2000]


def test_a_stage_that_fails_or_still_runs_counts_as_well(clock: Clock) -> None:
    with stopwatch() as watch, stage(Stage.EMBED):
        with pytest.raises(ValueError, match="no image"), stage(Stage.DECODE):
            fail(clock)
        assert watch.milliseconds == {Stage.DECODE: 1000, Stage.EMBED: 1000}


def fail(clock: Clock) -> None:
    clock.seconds += 1
    raise ValueError("no image")


def test_outside_a_request_nothing_is_measured() -> None:
    with stage(Stage.FETCH):
        pass
    with stopwatch() as watch:
        pass
    assert watch.milliseconds == {}
