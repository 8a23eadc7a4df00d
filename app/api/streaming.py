"""Writes an answer while it is still being found: an object with one list, valid JSON whatever its size, or lines."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import msgspec
from sanic import HTTPResponse, Request

from app.api.error_handler import REQUEST_ID, request_id
from app.api.operations import JSON, LINES, LineStream, Stream
from app.errors import LikenessError

_log = logging.getLogger("likeness.api")


async def send(request: Request, stream: Stream | LineStream, limit: asyncio.Timeout) -> HTTPResponse | None:
    """Sends a stream; what goes wrong before its first piece is answered as any error.

    Later the connection is aborted, so that half an answer cannot be taken for a whole one. A client that reads
    nothing for the time that an answer may take is dropped as well.

    Args:
        request: the request.
        stream: its answer.
        limit: the request's time limit, which ends with the first piece.

    Raises:
        what the stream raises before its first piece.
    """
    kind, text = (LINES, stream.pieces) if isinstance(stream, LineStream) else (JSON, written(stream))
    async with aclosing(text) as pieces:
        first = await anext(pieces)
        limit.reschedule(None)
        request.ctx.streamed_status = 200
        try:
            response = await request.respond(headers={REQUEST_ID: request_id(request)}, content_type=kind)
            assert response is not None, "no middleware answers instead"
            await response.send(first)
            async for piece in pieces:
                await response.send(piece)
            await response.eof()
        except asyncio.CancelledError:
            _abort(request)
            raise
        except Exception as error:
            message = error.message if isinstance(error, LikenessError) else error
            request.ctx.streamed_status = 500  # for the log and the series: the client was told 200
            _log.error("The answer broke off: %s", message, exc_info=error)
            _abort(request)
        return None


async def written(stream: Stream) -> AsyncGenerator[bytes, None]:
    """The JSON text of a stream in pieces; a stretch without items is a newline, which keeps the connection alive."""
    lead = b"{" + msgspec.json.encode(stream.field) + b":["
    separator = b""
    async with aclosing(stream.items) as portions:
        async for items in portions:
            yield (lead + separator + b",".join(map(msgspec.json.encode, items))) if items else lead or b"\n"
            lead, separator = b"", b"," if items else separator
    yield lead + b"]}"


def _abort(request: Request) -> None:
    transport: Any = request.transport  # Sanic's type of it lacks the method
    if transport is not None:
        transport.abort()
