"""Limits on connections: how many there are, and how slow each may be."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from typing import Any

import msgspec
from sanic.exceptions import RequestTimeout
from sanic.http import Stage
from sanic.server.protocols.http_protocol import HttpProtocol

from app.config import Settings
from app.errors import Overloaded
from app.open_files import connections

# Seconds between two looks at a connection.
_LOOK_S = 1.0
# Seconds for which a client may leave what it asked for unread.
_UNREAD_S = 60.0
# Refused connections that get to read why, and for how many seconds; beyond that they are only closed.
_MOST_REFUSED = 64
_REFUSED_S = 0.5


class ConnectionLimits:
    """Counts the connections of one process.

    Args:
        settings: how many there may be, and how slow.
    """

    def __init__(self, settings: Settings) -> None:
        self._most = connections(settings.max_connections, outward=settings.fetch_connections)
        self._most_of_one = settings.address_connections
        self.header_timeout_s = settings.header_timeout
        self.refused = 0
        self._open: Counter[str] = Counter()

    def enter(self, address: str) -> bool:
        """Counts a connection in, if there is room for it."""
        if self._open.total() >= self._most or (self._most_of_one and self._open[address] >= self._most_of_one):
            return False
        self._open[address] += 1
        return True

    def leave(self, address: str) -> None:
        """Counts a connection out."""
        self._open[address] -= 1
        if not self._open[address]:
            del self._open[address]


class LimitedProtocol(HttpProtocol):
    """HTTP within limits.

    Sanic's own timeouts begin anew with every byte that arrives, so that a client which sends one now and then holds a
    connection for ever. Here the whole head of a request must arrive in time, the rest of a body that was refused as
    well, and an answer must be read.
    """

    # Named, since Sanic's metaclass gives every class slots.
    __slots__ = (
        "_address", "_blocked_since", "_heads", "_is_refused", "_limits", "_look_later", "_since", "_waits_for"
    )  # fmt: skip

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._limits: ConnectionLimits = self.app.ctx.connections
        self._address = ""
        self._is_refused = False
        self._heads = 0
        self._since = self._blocked_since = 0.0
        self._waits_for: object = None
        self._look_later: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Counts the connection; one too many is told so and closed."""
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) else ""
        if self._limits.enter(self._address):
            super().connection_made(transport)  # type: ignore[no-untyped-call]
            self._look()
        else:
            self._refuse(transport)

    def data_received(self, data: bytes) -> None:
        """Hands on what came."""
        if not self._is_refused:
            http = self.http
            if http is None or http.stage is Stage.IDLE:
                self._heads += 1
            super().data_received(data)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Counts the connection out."""
        if self._look_later is not None:
            self._look_later.cancel()
        if self._is_refused:
            self._limits.refused -= 1
        else:
            self._limits.leave(self._address)
            super().connection_lost(exc)  # type: ignore[no-untyped-call]

    def pause_writing(self) -> None:
        """Notes that the client does not read."""
        self._blocked_since = self.loop.time()
        super().pause_writing()  # type: ignore[no-untyped-call]

    def resume_writing(self) -> None:
        """Notes that it does again."""
        self._blocked_since = 0.0
        super().resume_writing()  # type: ignore[no-untyped-call]

    def _refuse(self, transport: Any) -> None:
        self._is_refused = True
        self._limits.refused += 1
        if self._limits.refused > _MOST_REFUSED:
            transport.abort()
            return
        transport.write(_refusal())
        # Closed at once, what the client has sent by then would reset the connection before it reads this.
        self._look_later = self.loop.call_later(_REFUSED_S, transport.abort)

    def _look(self) -> None:
        """Ends the connection if it took too long over what it is in the middle of."""
        self._look_later = self.loop.call_later(_LOOK_S, self._look)
        http = self.http
        if http is None or self.transport is None:
            return  # not begun yet, or ending
        now = self.loop.time()
        if self._blocked_since and now - self._blocked_since > _UNREAD_S:
            self.transport.abort()
            return
        waits_for = self._awaited(http)
        if waits_for != self._waits_for:
            self._waits_for, self._since = waits_for, now
        elif waits_for is not None and now - self._since > self._limits.header_timeout_s and self._task is not None:
            if http.stage is Stage.REQUEST:
                http.exception = RequestTimeout()  # answered as 408
            self._task.cancel()

    def _awaited(self, http: Any) -> object:
        """What the client has to send now, if anything that has a time limit: the same object while it is the same."""
        if http.stage is Stage.REQUEST:
            # Of a client that keeps its connection busy this may be another request each time.
            return "head", self._heads
        if http.stage is Stage.IDLE and http.request_body:
            return "rest of the body", id(http.request)
        if http.stage is Stage.IDLE and not self._heads:
            return "first request", 0
        return None


def _refusal() -> bytes:
    body = {
        "error": "The service has as many connections as it takes: try again in a moment.",
        "code": Overloaded.code,
        "request_id": secrets.token_hex(8),
    }
    content = msgspec.json.encode(body)
    head = (
        "HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nRetry-After: 1\r\nConnection: close\r\n"
        f"X-Content-Type-Options: nosniff\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content
