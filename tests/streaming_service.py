"""A service of nothing but streams, good and bad, to be run as a process: ``python -m tests.streaming_service PORT``."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import msgspec
from sanic import Sanic

from app.api.auditing import Auditor
from app.api.error_handler import OneShapeErrors
from app.api.exchanges import Exchanges
from app.api.gate import Gate
from app.api.operations import Call, Operation, Stream
from app.api.routes import Router
from app.config import Settings
from app.errors import BackendUnavailable
from app.metrics import Metrics

Portions = AsyncGenerator[list["Entry"], None]
TIME_LIMIT_S = 0.5
MANY = 2000


class Entry(msgspec.Struct):
    """An entry of a stream."""

    text: str


class Entries(msgspec.Struct):
    """What a stream sends."""

    entries: list[Entry]


class Ended(msgspec.Struct):
    """How many endless streams have ended."""

    ended: int


ended: list[str] = []


async def whole() -> Portions:
    yield [Entry("first")]
    await asyncio.sleep(2 * TIME_LIMIT_S)  # the limit ends with the first piece
    for _ in range(MANY):
        yield [Entry("x" * 1000)]


async def late() -> Portions:
    await asyncio.sleep(2 * TIME_LIMIT_S)
    yield []


async def failing(*, after: int = 0) -> Portions:
    for _ in range(after):
        yield [Entry("first")]
    raise BackendUnavailable("It failed.")


def breaking() -> Portions:
    return failing(after=1)


async def endless() -> Portions:
    try:
        while True:
            yield [Entry("again")]
            await asyncio.sleep(0.01)
    finally:
        ended.append("endless")


async def count(_: Call) -> Ended:
    return Ended(len(ended))


def streaming(entries: Callable[[], Portions]) -> Callable[[Call], Awaitable[Stream]]:
    async def handle(_: Call) -> Stream:
        return Stream("entries", entries())

    return handle


def main() -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    metrics = Metrics("1")
    exchanges = Exchanges(metrics.requests)
    app: Sanic[Any, Any] = Sanic("streams", configure_logging=False, error_handler=OneShapeErrors(metrics.requests))
    app.ctx.services = None
    operations = [
        Operation("GET", f"/{each.__name__}", each.__name__, "Streams", "A stream", streaming(each), Entries, role=None)
        for each in (whole, late, failing, breaking, endless)
    ]
    operations.append(Operation("GET", "/ended", "ended", "Streams", "How many ended", count, Ended, role=None))
    settings = replace(Settings(), request_timeout=TIME_LIMIT_S, audit="off")
    exchanges.watch(app)
    Router(settings, Gate(settings), Auditor(settings), exchanges, metrics).add(app, operations)
    app.run("127.0.0.1", int(sys.argv[1]), single_process=True, motd=False, access_log=False)


if __name__ == "__main__":
    main()
