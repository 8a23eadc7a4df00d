"""Connections of one use to image hosts, which may send little besides the image itself."""

from __future__ import annotations

import asyncio
import functools
import ssl
from typing import Final, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler

from app.fetch.destinations import Destination, Pinned

_HEAD_BYTES: Final = 32_768  # of all heads together: interim answers (1xx) count as well
_PIECE: Final = 4096  # at least this is parsed before it is counted again: so much of empty heads takes milliseconds
_UNPARSED: Final = 524_288  # bytes of the body that may lie unparsed where its reader is slow
_FRAMING_SHARE: Final = 8  # an eighth of the body may come on top of it, as sizes of chunks


class TooMuchFraming(aiohttp.ClientPayloadError):
    """A host sends more besides the image than any needs to."""


class CountedAnswer(ResponseHandler):
    """Reads one answer, and ends the connection where what is sent is mostly no image.

    The parser takes any number of interim answers and any size of chunk: one host that sends nothing else would keep
    the event loop busy for as long as a fetch may take.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._wire_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Parses what came, piece by piece."""
        start = 0
        while True:
            piece = data[start : start + _PIECE + self._body_bytes() // _FRAMING_SHARE]
            start += len(piece)
            self._wire_bytes += len(piece)
            super().data_received(piece)
            if self.exception() is not None:
                return
            if self._is_too_much():
                error = TooMuchFraming()
                self.set_exception(error)
                if self._payload is not None:
                    self._payload.set_exception(error)
                if self.transport is not None:
                    self.transport.abort()
                return
            if start >= len(data):
                return

    def _body_bytes(self) -> int:
        return 0 if self._payload is None else self._payload.total_bytes

    def _is_too_much(self) -> bool:
        body = self._body_bytes()
        spare = _HEAD_BYTES + body // _FRAMING_SHARE + (_UNPARSED if self._reading_paused else 0)
        return self._wire_bytes - body > spare


class OneUseConnector(aiohttp.TCPConnector):
    """Connects to one destination, for one request.

    No connection is kept: nothing that a host sends unasked can be taken for the answer to a later request, and hosts
    cannot have the service hold idle connections.

    Args:
        destination: the only addresses that are connected to.
        tls: trust for https; the system's where None.
    """

    def __init__(self, destination: Destination, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            limit=0,
            resolver=Pinned(destination),
            use_dns_cache=False,
            force_close=True,
            ssl=True if tls is None else tls,
        )
        counted = functools.partial(CountedAnswer, loop=asyncio.get_running_loop())
        self._factory = cast("functools.partial[ResponseHandler]", counted)
