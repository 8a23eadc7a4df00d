"""The readers-writer lock: exclusion, fairness, and cancellation at every moment."""

import asyncio
import random

import pytest

from app.store.locks import ReadersWriterLock


class Watched:
    """A lock whose holders note what they do and see."""

    def __init__(self) -> None:
        self.lock = ReadersWriterLock()
        self.log: list[str] = []
        self.readers = 0
        self.writers = 0

    async def read(self, name: str, leave: asyncio.Event | None = None) -> None:
        async with self.lock.reading():
            self.log.append(name)
            self.readers += 1
            try:
                assert self.writers == 0
                await (leave.wait() if leave else asyncio.sleep(0))
            finally:
                self.readers -= 1

    async def write(self, name: str, leave: asyncio.Event | None = None) -> None:
        async with self.lock.writing():
            self.log.append(name)
            self.writers += 1
            try:
                assert (self.readers, self.writers) == (0, 1)
                await (leave.wait() if leave else asyncio.sleep(0))
            finally:
                self.writers -= 1


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_readers_share_the_lock_and_a_writer_waits_for_all_of_them() -> None:
    watched, leave = Watched(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watched.read("r1", leave))
        tasks.create_task(watched.read("r2", leave))
        tasks.create_task(watched.write("w"))
        await _settle()
        assert watched.log == ["r1", "r2"]
        leave.set()
    assert watched.log == ["r1", "r2", "w"]


async def test_whoever_comes_first_is_served_first() -> None:
    watched, leave = Watched(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watched.write("w1", leave))
        await _settle()
        for name in ("r2", "w3", "r4", "r5", "w6"):
            tasks.create_task(watched.read(name) if name[0] == "r" else watched.write(name))
        await _settle()
        assert watched.log == ["w1"]
        leave.set()
    assert watched.log == ["w1", "r2", "w3", "r4", "r5", "w6"]


async def test_a_cancelled_writer_at_the_head_lets_the_readers_behind_it_in() -> None:
    watched, leave = Watched(), asyncio.Event()
    reader = asyncio.create_task(watched.read("r1", leave))
    await _settle()
    writer = asyncio.create_task(watched.write("w2"))
    await _settle()
    late = asyncio.create_task(watched.read("r3"))
    await _settle()
    assert watched.log == ["r1"]
    writer.cancel()
    await late
    assert watched.log == ["r1", "r3"]
    leave.set()
    await reader


@pytest.mark.parametrize("kind", ["read", "write"])
async def test_a_turn_that_comes_together_with_its_cancellation_is_given_back(kind: str) -> None:
    watched = Watched()
    async with watched.lock.writing():
        waiting = asyncio.create_task(watched.read("x") if kind == "read" else watched.write("x"))
        await _settle()
    # The end of the block handed the lock over ...
    waiting.cancel()  # ... to a task that ends before it can run
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert watched.log == []
    async with asyncio.timeout(1):
        await watched.write("w")


@pytest.mark.parametrize("seed", range(5))
async def test_any_mix_of_readers_writers_and_cancellations_leaves_the_lock_free(seed: int) -> None:
    watched, dice = Watched(), random.Random(seed)
    tasks: list[asyncio.Task[None]] = []
    for _ in range(300):
        tasks.append(asyncio.create_task(watched.write("w") if dice.random() < 0.4 else watched.read("r")))
        if dice.random() < 0.4:
            dice.choice(tasks).cancel()
        if dice.random() < 0.5:
            await asyncio.sleep(0)
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(each is None or isinstance(each, asyncio.CancelledError) for each in ended)
    async with asyncio.timeout(1):
        await watched.write("last")
    assert watched.log[-1] == "last"
