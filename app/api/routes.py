"""Puts operations on Sanic: reads the body within its limits, admits, calls, serialises."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext
from functools import partial
from typing import Any

import msgspec
from sanic import HTTPResponse, Request, Sanic

from app.api import schemas, streaming
from app.api.auditing import Auditor, Note
from app.api.error_handler import REQUEST_ID, request_id
from app.api.exchanges import Exchanges
from app.api.gate import Gate, check_body
from app.api.operations import LINES, Answer, Call, LineStream, Operation, Stream, Text
from app.api.validation import parse_body, query_of
from app.config import Settings
from app.errors import (
    DeadlineExceeded,
    InvalidRequest,
    Limit,
    OutOfResources,
    RequestTimeout,
    TooLarge,
    is_out_of_resources,
)
from app.metrics import Metrics
from app.services.admission import Admission
from app.services.budget import MemoryBudget
from app.stages import Stopwatch
from app.wiring import Services

# Seconds without a byte of the body after which its sender is taken for gone.
_STALLED_S = 10
# Bytes a second that a sender must keep up on average, counted while it is waited for, once it was for some time.
_SLOWEST = 1024
_PATIENCE_S = 20
REQUEST_TIMEOUT = "X-Request-Timeout"
# While it is parsed a body is there in pieces, as a whole and as the strings in it.
_BODY_COPIES = 3
# What a body that is read as it comes takes at most: a batch of rows in some copies, or a line with an image.
_STREAMED_BODY_BYTES = 32 << 20
_LINE_COPIES = 4

Handler = Callable[..., Coroutine[Any, Any, HTTPResponse | None]]


class Router:
    """Makes a handler of each operation.

    Args:
        settings: limits and defaults.
        gate: lets callers in.
        auditor: records what they did.
        exchanges: told of each request at work.
        metrics: told of stages and bodies.
    """

    def __init__(
        self, settings: Settings, gate: Gate, auditor: Auditor, exchanges: Exchanges, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._gate = gate
        self._auditor = auditor
        self._exchanges = exchanges
        self._stages = metrics.stages
        self._bodies = MemoryBudget(settings.body_memory)
        # Bodies that are read as they come have no time limit: a few slow ones must not take all memory for bodies.
        self._line_bodies = Admission(settings.transfers, limit=Limit.LINE_BODIES)
        self.sample = partial(self._bodies.sample, metrics.work, "bodies")

    def add(self, app: Sanic[Any, Any], operations: list[Operation]) -> None:
        """Registers operations; the services are found in ``app.ctx.services``."""
        for operation in operations:
            app.add_route(
                self._handler(operation),
                operation.path.replace("{", "<").replace("}", ":str>"),
                methods=[operation.method],
                name=operation.id,
                stream=True,  # bodies are read here, within limits, and never before by Sanic
                unquote=True,
            )

    def _handler(self, operation: Operation) -> Handler:
        # A body that is read as it comes may be large; its sender is watched for stalling instead.
        most = None if operation.body_kind == LINES else self._settings.request_timeout

        async def handle(request: Request, **path: str) -> HTTPResponse | None:
            with self._auditor.noting(request, operation, path) as note:
                seconds = _seconds(request, most)
                try:
                    with self._exchanges.at_work(request):
                        async with asyncio.timeout(seconds) as limit:
                            return await self._answer(operation, request, path, limit, note)
                except TimeoutError as error:
                    message = (
                        f"The request took longer than {seconds:g} seconds: send less at once, or try again later."
                    )
                    raise DeadlineExceeded(message) from error
                except OSError as error:
                    if is_out_of_resources(error):
                        raise OutOfResources from error
                    raise

        return handle

    async def _answer(
        self, operation: Operation, request: Request, path: dict[str, str], limit: asyncio.Timeout, note: Note
    ) -> HTTPResponse | None:
        services: Services = request.app.ctx.services
        is_read_here = operation.body_kind != LINES
        reading: AbstractAsyncContextManager[Any]
        with self._gate.entered(request, operation, path) as caller:
            if operation.inference:
                services.admission.check()  # nobody need send a large body to be refused
            reading = self._body(request, operation) if is_read_here else self._unread(request, operation)
            async with reading as body:
                if is_read_here:
                    note.body = body
                    check_body(caller, operation, body)
                accept = request.headers.get("accept", "")
                call = Call(services, self._settings, path, query_of(request.args), body, caller, accept)
                return await self._result(operation, request, call, limit, note)

    async def _result(
        self, operation: Operation, request: Request, call: Call, limit: asyncio.Timeout, note: Note
    ) -> HTTPResponse | None:
        # After the body: a client that only promises one must not keep a permit from others.
        async with call.services.admission.permit() if operation.inference else nullcontext():
            with self._stages.stopwatch() as watch:
                request.ctx.stopwatch = watch
                result = await operation.handle(call)
            note.result = result
            if isinstance(result, Stream | LineStream):
                return await streaming.send(request, result, limit)
            if isinstance(result, schemas.Timed) and _wants_timings(call.body):
                result.timings = _timings(watch)
        return _response(request, result)

    @asynccontextmanager
    async def _body(self, request: Request, operation: Operation) -> AsyncIterator[msgspec.Struct | None]:
        """Reads and parses the body, if any; its memory counts against the common budget until the block ends.

        Raises:
            InvalidRequest: it does not fit the operation's shape.
            TooLarge: it is over the limit.
            Overloaded: all bodies together are over theirs.
            RequestTimeout: the client stopped sending.
        """
        held = 0
        chunks: list[bytes] = []
        try:
            async for chunk in self._chunks(request, most=operation.body_limit(self._settings)):
                if operation.body is None:
                    continue  # some clients send an empty object where nothing is asked for
                self._bodies.take(len(chunk) * _BODY_COPIES)
                held += len(chunk) * _BODY_COPIES
                chunks.append(chunk)
            if operation.body is None:
                yield None
                return
            body = parse_body(b"".join(chunks), operation.body)
            chunks.clear()
            yield body
        finally:
            self._bodies.give_back(held)

    @asynccontextmanager
    async def _unread(self, request: Request, operation: Operation) -> AsyncIterator[AsyncGenerator[bytes, None]]:
        """Yields a body that is read as it comes.

        Raises:
            TooLarge: while it is read; it is over the limit.
            Overloaded: too many of them are being read, or all bodies together are over their budget.
            RequestTimeout: while it is read; the client stopped sending.
        """
        size = min(max(_STREAMED_BODY_BYTES, _LINE_COPIES * self._settings.max_image_bytes), self._bodies.total)
        async with self._line_bodies.permit():
            self._bodies.take(size)
            try:
                async with aclosing(self._chunks(request, most=operation.body_limit(self._settings))) as chunks:
                    yield chunks
            finally:
                self._bodies.give_back(size)

    async def _chunks(self, request: Request, *, most: int) -> AsyncGenerator[bytes, None]:
        too_large = TooLarge(f"The body is larger than {most} bytes: send less at once.")
        length = request.headers.get("content-length", "0")
        if length.isdecimal() and int(length) > most:
            raise too_large
        stream: Any = request.stream  # Sanic types it as a union of which one member can be read
        stream.request_max_size = max(stream.request_max_size, most)
        received, waited = 0, 0.0
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            try:
                async with asyncio.timeout(_STALLED_S):
                    chunk = await stream.read()
            except TimeoutError as error:
                raise RequestTimeout from error
            if chunk is None:
                break
            received += len(chunk)
            waited += clock() - began
            if waited > _PATIENCE_S and received < waited * _SLOWEST:
                raise RequestTimeout  # a byte now and then keeps no place for ever
            if received > most:
                raise too_large
            yield chunk
        # Sanic stops reading while much is buffered and resumes only to read more of a body: without this a client
        # that hangs up after a large one would not be noticed.
        transport: Any = request.transport
        if transport is not None and not transport.is_reading():
            transport.resume_reading()


def _seconds(request: Request, most: float | None) -> float | None:
    """The time limit of a request: its own, where it has one that is shorter.

    Raises:
        InvalidRequest: its own is none.
    """
    sent = request.headers.get(REQUEST_TIMEOUT)
    if sent is None:
        return most
    try:
        seconds = float(sent)
    except ValueError:
        seconds = math.nan
    if not (math.isfinite(seconds) and seconds > 0):
        raise InvalidRequest(f"{REQUEST_TIMEOUT} must be a number of seconds over 0, such as 2.5.")
    return seconds if most is None else min(seconds, most)


def _wants_timings(body: object) -> bool:
    return bool(getattr(getattr(body, "params", None), "timings", None))


def _timings(watch: Stopwatch) -> schemas.Timings:
    milliseconds = {name.value: round(value, 3) for name, value in watch.milliseconds.items()}
    return schemas.Timings(**milliseconds, total=round(watch.total_milliseconds, 3))


def _response(request: Request, result: msgspec.Struct | Answer | Text) -> HTTPResponse:
    if isinstance(result, Text):
        return HTTPResponse(result.content, content_type=result.kind)
    answer = result if isinstance(result, Answer) else Answer(result)
    return HTTPResponse(
        msgspec.json.encode(answer.content),
        answer.status,
        {REQUEST_ID: request_id(request)},
        content_type="application/json",
    )
