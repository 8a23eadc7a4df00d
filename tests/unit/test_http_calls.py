"""Batches over HTTP: connections that are kept, lost, hung up on by nobody, and answers that are none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from app.inference.http_calls import HttpCalls
from tests.small_triton import MODEL, Asked, SmallHttp


class Server:
    """Gives back its input, or what a test says."""

    def __init__(self) -> None:
        self.http = SmallHttp(self.answer)
        self.gate = asyncio.Event()
        self.gate.set()
        self.status, self.body, self.json_bytes = 0, b"", 0
        self.losses = 0
        self.asked: list[Asked] = []

    async def answer(self, asked: Asked) -> tuple[int, bytes, int]:
        self.asked.append(asked)
        await self.gate.wait()
        if self.status:
            return self.status, self.body, self.json_bytes
        size = int(asked.headers["inference-header-content-length"])
        [tensor] = json.loads(asked.body[:size])["inputs"]
        values = asked.body[size:]
        return answered("SAME", tensor["datatype"], tensor["shape"], values)

    def lose(self) -> None:
        self.losses += 1


def answered(name: str, datatype: str, shape: list[int], values: bytes) -> tuple[int, bytes, int]:
    output = {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(values)}}
    head = json.dumps({"outputs": [output]}).encode()
    return 200, head + values, len(head)


@asynccontextmanager
async def serving(*, timeout: float = 20.0) -> AsyncIterator[tuple[Server, HttpCalls]]:
    server = Server()
    port = await server.http.start()
    calls = HttpCalls(f"127.0.0.1:{port}", timeout=timeout, lost=server.lose)
    try:
        yield server, calls
    finally:
        calls.close()
        await server.http.stop()


async def infer(calls: HttpCalls, array: NDArray[Any]) -> NDArray[Any]:
    outputs = await calls.infer(MODEL, {"IN": array}, ["SAME"], regions=None, parameters={}, headers={})
    return outputs["SAME"]


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0.001)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, np.float32])
async def test_arrays_go_and_come_as_they_are_whatever_their_layout(dtype: type[Any]) -> None:
    array = np.arange(24, dtype=dtype).reshape(2, 3, 4)
    async with serving() as (_, calls):
        for each in (array, array.transpose(2, 0, 1), array[:, ::2], np.zeros((0, 4), dtype)):
            same = await infer(calls, each)
            assert same.dtype == each.dtype
            assert np.array_equal(same, each)
            assert same.flags.aligned


async def test_calls_one_after_the_other_share_a_connection_and_calls_at_once_do_not() -> None:
    async with serving() as (server, calls):
        for _ in range(3):
            await infer(calls, np.ones(1))
        assert server.http.connections == 1
        await asyncio.gather(*(infer(calls, np.ones(1)) for _ in range(3)))
        assert server.http.connections == 3


async def test_a_call_that_is_given_up_is_not_hung_up_on_and_its_answer_goes_to_nobody() -> None:
    async with serving() as (server, calls):
        server.gate.clear()
        given_up = asyncio.create_task(infer(calls, np.full(1, 1.0)))
        await turns()
        given_up.cancel()
        await asyncio.wait([given_up])
        server.gate.set()
        await turns()
        assert (await infer(calls, np.full(1, 2.0))).tolist() == [2.0]
        assert server.http.connections == 1
        assert server.losses == 0


async def test_a_call_that_is_given_up_as_its_answer_comes_leaves_its_connection_to_the_next() -> None:
    async with serving() as (server, calls):
        server.gate.clear()
        call = asyncio.create_task(infer(calls, np.ones(1)))
        await turns()
        [connection] = calls._connections

        class CancelsInTheSameTurn(asyncio.Protocol):
            def data_received(self, data: bytes) -> None:
                connection.data_received(data)
                call.cancel()
                connection._transport.set_protocol(connection)

        connection._transport.set_protocol(CancelsInTheSameTurn())
        server.gate.set()
        await asyncio.wait([call])
        assert call.cancelled()
        await infer(calls, np.ones(1))
        assert server.http.connections == 1


async def test_a_call_that_takes_too_long_ends_with_its_connection() -> None:
    async with serving(timeout=0.05) as (server, calls):
        server.gate.clear()
        with pytest.raises(InferenceServerException) as raised:
            await infer(calls, np.ones(1))
        assert raised.value.status() == "StatusCode.DEADLINE_EXCEEDED"
        server.gate.set()
        await turns()
        await infer(calls, np.ones(1))
        assert server.http.connections == 2
        assert server.losses == 0


async def test_a_call_that_is_given_up_and_never_answered_keeps_its_connection_no_longer_than_it_may() -> None:
    async with serving(timeout=0.05) as (server, calls):
        server.gate.clear()
        given_up = asyncio.create_task(infer(calls, np.ones(1)))
        await turns()
        given_up.cancel()
        await asyncio.sleep(0.2)
        assert not calls._connections


async def test_a_server_that_hangs_up_is_noticed_also_while_nobody_calls_it() -> None:
    async with serving() as (server, calls):
        await infer(calls, np.ones(1))
        port = calls._port
        await server.http.stop()
        await turns()
        assert server.losses == 1
        with pytest.raises(InferenceServerException) as raised:
            await infer(calls, np.ones(1))
        assert raised.value.status() == "StatusCode.UNAVAILABLE"
        await server.http.start(port)
        await infer(calls, np.ones(1))


async def test_a_call_that_is_at_work_when_the_server_dies_is_told() -> None:
    async with serving() as (server, calls):
        server.gate.clear()
        call = asyncio.create_task(infer(calls, np.ones(1)))
        await turns()
        await server.http.stop()
        with pytest.raises(InferenceServerException) as raised:
            await call
        assert raised.value.status() == "StatusCode.UNAVAILABLE"
        assert server.losses == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [(400, "INVALID_ARGUMENT"), (404, "NOT_FOUND"), (500, "INTERNAL"), (503, "UNAVAILABLE"), (418, "INTERNAL")],
)
async def test_a_refusal_is_told_as_grpc_would_and_the_connection_goes_on(status: int, code: str) -> None:
    async with serving() as (server, calls):
        server.status, server.body = status, b'{"error":"because"}'
        with pytest.raises(InferenceServerException, match="because") as raised:
            await infer(calls, np.ones(1))
        assert raised.value.status() == f"StatusCode.{code}"
        server.status = 0
        await infer(calls, np.ones(1))
        assert server.http.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"<html>", 6),
        (200, b"", 0),
        answered("SAME", "FP64", [2], bytes(8)),
        answered("SAME", "FP64", [-1], bytes(8)),
        answered("SAME", "FP64", [3], bytes(8)),
        answered("SAME", "NONE", [1], bytes(8)),
        (200, answered("SAME", "FP64", [1], bytes(8))[1][:-4], answered("SAME", "FP64", [1], bytes(8))[2]),
    ],
)
async def test_an_answer_that_is_not_what_the_protocol_says_is_an_error(answer: tuple[int, bytes, int]) -> None:
    async with serving() as (server, calls):
        server.status, server.body, server.json_bytes = answer
        with pytest.raises(InferenceServerException) as raised:
            await infer(calls, np.ones(1))
        assert raised.value.status() == "StatusCode.INTERNAL"


async def test_an_answer_that_is_no_http_ends_the_connection() -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"nonsense\r\n\r\n")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(nonsense, "127.0.0.1", 0)
    calls = HttpCalls(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=20, lost=lambda: None)
    with pytest.raises(InferenceServerException) as raised:
        await infer(calls, np.ones(1))
    assert raised.value.status() == "StatusCode.UNAVAILABLE"
    await turns()
    server.close()


async def test_a_server_that_hangs_up_as_soon_as_it_is_reached_is_not_waited_for() -> None:
    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    calls = HttpCalls(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=20, lost=lambda: None)
    async with asyncio.timeout(10):
        for _ in range(20):
            with pytest.raises(InferenceServerException) as raised:
                await infer(calls, np.ones(1))
            assert raised.value.status() == "StatusCode.UNAVAILABLE"
    await turns()
    assert not calls._connections
    server.close()


async def test_a_model_is_asked_for_over_the_same_connections() -> None:
    async with serving() as (server, calls):
        server.status = 200
        assert await calls.ready(MODEL, timeout=5)
        server.status = 400
        assert not await calls.ready(MODEL, timeout=5)
        assert server.http.connections == 1
        assert [asked.path for asked in server.asked] == [f"/v2/models/{MODEL}/ready"] * 2
