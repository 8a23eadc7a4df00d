"""A Milvus that falls silent: its callers are told at once, until it answers again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from pymilvus.exceptions import MilvusException

from app.errors import BackendUnavailable
from app.store.outage import Outage, Patience


class Milvus:
    """Answers while its gate is open."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.outage = Outage(self.ask, Patience(quiet_s=0.1, look_s=0.01, settle_s=0.02))

    async def ask(self) -> None:
        try:
            async with asyncio.timeout(0.05):
                await self.gate.wait()
        except TimeoutError as error:
            raise BackendUnavailable from error

    async def call(self, gate: asyncio.Event | None = None) -> None:
        with self.outage.watching():
            await (gate or self.gate).wait()


@asynccontextmanager
async def milvus() -> AsyncIterator[Milvus]:
    started = Milvus()
    yield started
    await started.outage.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)


async def test_callers_of_a_silent_milvus_are_told_at_once_until_it_answers() -> None:
    async with milvus() as server:
        server.gate.clear()
        waiting = asyncio.create_task(server.call())
        await until(lambda: server.outage.is_silent)
        with pytest.raises(BackendUnavailable):
            await server.call()
        server.gate.set()
        await waiting
        await until(lambda: not server.outage.is_silent)
        await server.call()


async def test_a_long_call_is_no_silence_while_what_is_asked_in_between_is_answered() -> None:
    async with milvus() as server:
        long = asyncio.Event()
        calling = asyncio.create_task(server.call(long))
        await asyncio.sleep(0.5)  # as long as silence takes to be noticed, twice
        assert not server.outage.is_silent
        await server.call()
        long.set()
        await calling


async def test_a_refusal_is_an_answer() -> None:
    async with milvus() as server:
        server.gate.clear()  # what is asked in between is not answered
        waiting = asyncio.create_task(server.call())
        for _ in range(50):
            with pytest.raises(MilvusException), server.outage.watching():
                raise MilvusException(code=1100, message="invalid parameter")
            await asyncio.sleep(0.01)
        assert not server.outage.is_silent
        server.gate.set()
        await waiting
