"""Batches to Triton over HTTP: the KServe v2 protocol with Triton's extension for binary tensors.

It takes the caller a third of the processor time that gRPC takes (docs/speed.md), and says the same:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, cast

import httptools
import msgspec
import numpy as np
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype, triton_to_np_dtype

from app.inference.shared_memory import Region

_HUNG_UP: Final = "the server hung up"
_JSON_BYTES: Final = b"inference-header-content-length"
# What gRPC calls the same refusals, so that callers need to know one language only.
_STATUS: Final = {
    400: "StatusCode.INVALID_ARGUMENT",
    404: "StatusCode.NOT_FOUND",
    499: "StatusCode.CANCELLED",
    501: "StatusCode.UNIMPLEMENTED",
    503: "StatusCode.UNAVAILABLE",
}


class _Parameters(msgspec.Struct):
    binary_data_size: int


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    parameters: _Parameters


class _Answered(msgspec.Struct):
    outputs: list[_Tensor]


class _Refused(msgspec.Struct):
    error: str


_answered = msgspec.json.Decoder(_Answered)
_refused = msgspec.json.Decoder(_Refused)


class _Connection(asyncio.Protocol):
    """A connection that stays; one question at a time.

    Attributes:
        is_gone: whether it has ended.

    Args:
        idle: told when it can be asked again after a question whose answer nobody wanted.
        ended: told when it is gone, whether or not it was ended from here.
    """

    def __init__(self, idle: Callable[[_Connection], None], ended: Callable[[_Connection, bool], None]) -> None:
        self._idle = idle
        self._ended = ended
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._answer: asyncio.Future[tuple[int, int, bytes]] | None = None
        self._json_bytes = 0
        self._body: list[bytes] = []
        self._aborted = False
        self.is_gone = False
        self._unwanted: asyncio.TimerHandle | None = None

    async def ask(self, question: Sequence[bytes | memoryview]) -> tuple[int, int, bytes]:
        """Sends a request; its answer's status, bytes of JSON and body.

        Raises:
            OSError: the connection is gone.
        """
        if self.is_gone:  # what is written to it then is lost without a word
            raise ConnectionResetError(_HUNG_UP)
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.writelines(question)
        return await self._answer

    def forsake(self, seconds: float) -> None:
        """Nobody waits for the answer any more: it is read and thrown away, as what comes after it is to be read.

        Args:
            seconds: for which it may still take.
        """
        answered = self._answer is not None and self._answer.done() and not self._answer.cancelled()
        self._answer = None
        if answered and not self.is_gone:  # it came in the same moment
            self._idle(self)
        elif not self.is_gone:
            self._unwanted = asyncio.get_running_loop().call_later(seconds, self.abort)

    def abort(self) -> None:
        """Ends it at once."""
        self._aborted = True
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True
        if self._unwanted is not None:
            self._unwanted.cancel()
        self._ended(self, self._aborted)
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError(_HUNG_UP))

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    def on_message_begin(self) -> None:
        self._json_bytes = 0
        self._body = []

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == _JSON_BYTES:
            self._json_bytes = int(value)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._unwanted is not None:
            self._unwanted.cancel()
            self._unwanted = None
            self._idle(self)
        elif self._answer is not None and not self._answer.done():
            body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
            self._answer.set_result((self._parser.get_status_code(), self._json_bytes, body))


class HttpCalls:
    """Runs batches on one Triton server, over connections that are kept.

    Args:
        address: ``host:port`` of its HTTP endpoint.
        timeout: seconds that one call may take.
        lost: told when a connection has gone that was not ended from here: there may be another server now.
    """

    def __init__(self, address: str, *, timeout: float, lost: Callable[[], None]) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self._named = address
        self._timeout = timeout
        self._lost = lost
        self._connections: set[_Connection] = set()
        self._free: list[_Connection] = []

    def close(self) -> None:
        """Ends all connections, whatever is at work on them."""
        for connection in self._connections:
            connection.abort()
        self._free.clear()

    async def infer(
        self,
        model: str,
        inputs: Mapping[str, NDArray[Any]],
        outputs: Sequence[str],
        *,
        regions: Sequence[Region] | None,
        parameters: Mapping[str, int],
        headers: Mapping[str, str],
    ) -> dict[str, NDArray[Any]]:
        """Runs one batch.

        Args:
            model: name in the model repository.
            inputs: arrays with the batch as their first axis.
            outputs: names of the wanted output tensors.
            regions: where the inputs lie in memory that the server has mapped; None: they go with the request.
            parameters: of the request.
            headers: that are sent with it.

        Returns:
            The outputs by name; read-only.

        Raises:
            InferenceServerException: as of the gRPC client, with the status that gRPC would tell.
        """
        told, values = _told(inputs, outputs, regions, parameters)
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        head = (
            f"POST /v2/models/{model}/infer HTTP/1.1\r\nHost: {self._named}\r\n"
            f"Content-Length: {len(told) + sum(value.nbytes for value in values)}\r\n"
            f"Inference-Header-Content-Length: {len(told)}\r\n{more}\r\n"
        )
        question: list[bytes | memoryview] = [head.encode("ascii") + told, *values]
        status, json_bytes, body = await self._answer(question, self._timeout)
        if status != 200:
            raise InferenceServerException(_reason(body), status=_STATUS.get(status, "StatusCode.INTERNAL"))
        try:
            return _arrays(body, json_bytes)
        except (msgspec.MsgspecError, ValueError, TypeError) as error:
            message = f"not what the protocol says: {error}"
            raise InferenceServerException(message, status="StatusCode.INTERNAL") from error

    async def ready(self, model: str, *, timeout: float) -> bool:
        """Whether the server serves the model at this moment.

        Raises:
            InferenceServerException: it does not answer, with the status that gRPC would tell.
        """
        question = f"GET /v2/models/{model}/ready HTTP/1.1\r\nHost: {self._named}\r\n\r\n"
        status, _, _ = await self._answer([question.encode("ascii")], timeout)
        return status == 200

    async def _answer(self, question: Sequence[bytes | memoryview], seconds: float) -> tuple[int, int, bytes]:
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(seconds):
                connection = await self._connected()
                answer = await connection.ask(question)
        except TimeoutError as error:
            if connection is not None:
                connection.abort()
            raise InferenceServerException("Deadline Exceeded", status="StatusCode.DEADLINE_EXCEEDED") from error
        except OSError as error:
            raise InferenceServerException(str(error), status="StatusCode.UNAVAILABLE") from error
        except BaseException:
            # A server that is hung up on while it works has more to go wrong than one whose answer is not read.
            if connection is not None:
                connection.forsake(seconds)
            raise
        self._free.append(connection)
        return answer

    async def _connected(self) -> _Connection:
        if self._free:
            return self._free.pop()
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(
            lambda: _Connection(self._free.append, self._ended), self._host, self._port
        )
        if not connection.is_gone:
            self._connections.add(connection)
        return connection

    def _ended(self, connection: _Connection, aborted: bool) -> None:  # noqa: FBT001
        self._connections.discard(connection)
        with suppress(ValueError):
            self._free.remove(connection)
        if not aborted:
            self._lost()


def _told(
    inputs: Mapping[str, NDArray[Any]],
    outputs: Sequence[str],
    regions: Sequence[Region] | None,
    parameters: Mapping[str, int],
) -> tuple[bytes, list[memoryview]]:
    """The JSON of a request, and the values that go after it."""
    tensors, values = [], []
    for number, (name, array) in enumerate(inputs.items()):
        where: dict[str, str | int] = {"binary_data_size": array.nbytes}
        if regions is not None:
            where = {"shared_memory_region": regions[number].name, "shared_memory_byte_size": array.nbytes}
        else:
            values.append(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
        datatype = np_to_triton_dtype(array.dtype)
        tensors.append({"name": name, "shape": array.shape, "datatype": datatype, "parameters": where})
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    return msgspec.json.encode({"parameters": parameters, "inputs": tensors, "outputs": wanted}), values


def _reason(body: bytes) -> str:
    try:
        return _refused.decode(body).error
    except msgspec.MsgspecError:
        return body[:200].decode("ascii", "replace")


def _arrays(body: bytes, json_bytes: int) -> dict[str, NDArray[Any]]:
    told = _answered.decode(memoryview(body)[:json_bytes])
    values, start = body[json_bytes:], 0  # a copy, so that numbers lie where they are read fast
    arrays = {}
    for tensor in told.outputs:
        kind = triton_to_np_dtype(tensor.datatype)
        if kind is None:  # to NumPy that would be the kind of numbers it prefers
            message = f"{tensor.datatype} is no kind of numbers"
            raise ValueError(message)
        dtype = np.dtype(kind)
        count, size = math.prod(tensor.shape), tensor.parameters.binary_data_size
        if count * dtype.itemsize != size:
            message = f"{size} bytes for {tensor.datatype} {tensor.shape}"
            raise ValueError(message)
        arrays[tensor.name] = np.frombuffer(values, dtype, count, start).reshape(tensor.shape)
        start += size
    return arrays
