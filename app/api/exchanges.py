"""What is told of each request: its series, and its line in the log."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sanic import Request, Sanic
from sanic.response import BaseHTTPResponse

from app.access.caller import Caller
from app.api.error_handler import REQUEST_ID, request_id
from app.api.validation import GROUP_NAME
from app.log import FIELDS, name_request
from app.metrics import RequestMetrics
from app.stages import Stopwatch

# Asked for again and again by machines and browsers.
_QUIET = ("/health", "/docs", "/metrics")
_METHODS = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}
_UNMATCHED = "unmatched"
_PLACE = re.compile(r"<(\w+)(:[^>]*)?>")
_CLIENT_GONE = 499


class Exchanges:
    """Notes the beginning and the end of each request, and how it went.

    Args:
        metrics: told of each.
    """

    def __init__(self, metrics: RequestMetrics) -> None:
        self._metrics = metrics
        self._log = logging.getLogger("likeness.access")
        self._templates: dict[str, str] = {}

    def watch(self, app: Sanic[Any, Any]) -> None:
        """Notes every request of an application."""
        app.register_middleware(self._begin, "request")
        app.register_middleware(self._answered, "response")

    @contextmanager
    def at_work(self, request: Request) -> Iterator[None]:
        """The block works on a request; where it sends the answer in pieces, the request ends with the block."""
        self._metrics.in_flight.inc()
        gone = False
        try:
            yield
        except asyncio.CancelledError:
            gone = True
            raise
        finally:
            self._metrics.in_flight.dec()
            status = getattr(request.ctx, "streamed_status", None)
            if status is not None:
                self._ended(request, _CLIENT_GONE if gone else status)

    async def _begin(self, request: Request) -> None:
        request.ctx.began = time.perf_counter()
        # For the rest of this connection's task, until its next request: the lines of an answer that is sent in pieces
        # come after the handlers that Sanic knows of.
        name_request(request_id(request))

    async def _answered(self, request: Request, response: BaseHTTPResponse) -> None:
        response.headers.setdefault(REQUEST_ID, request_id(request))
        if getattr(request.ctx, "streamed_status", None) is None:
            self._ended(request, response.status)

    def _ended(self, request: Request, status: int) -> None:
        began = getattr(request.ctx, "began", None)
        seconds = time.perf_counter() - began if began is not None else 0.0
        route = self._template(request)
        method = request.method if request.method in _METHODS else "other"
        self._metrics.ended(route, method, status, seconds)
        level = logging.DEBUG if route.startswith(_QUIET) else logging.INFO
        if self._log.isEnabledFor(level):
            taken = round(seconds * 1000, 1)
            self._tell(request, level, {"method": method, "route": route, "status": status, "milliseconds": taken})

    def _tell(self, request: Request, level: int, fields: dict[str, Any]) -> None:
        parts = [f"{fields['method']} {fields['route']} {fields['status']} {fields['milliseconds']} ms"]
        # The path itself is not told: it may hold an id, and an id may be the address of an image. Nor is what is no
        # name of a group: it may hold a line end.
        group = request.match_info.get("name", "") if "/groups/{name}" in fields["route"] else ""
        if GROUP_NAME.fullmatch(group):
            fields["group"] = group
            parts.append(f"group={group}")
        caller = getattr(request.ctx, "caller", None)
        if isinstance(caller, Caller) and caller.key_id:
            fields["key"] = caller.key_id
            parts.append(f"key={caller.key_id}")
        watch: Stopwatch | None = getattr(request.ctx, "stopwatch", None)
        if watch is not None and (stages := watch.milliseconds):
            fields["stages"] = {stage.value: round(taken, 1) for stage, taken in stages.items()}
            parts += [f"{stage}={taken}" for stage, taken in fields["stages"].items()]
        self._log.log(level, "%s", " ".join(parts), extra={FIELDS: fields})

    def _template(self, request: Request) -> str:
        """The path with the names of its parameters instead of their values."""
        route = request.route
        if route is None:
            return _UNMATCHED
        path: str = route.path
        known = self._templates.get(path)
        if known is None:  # there are as many as there are routes
            known = self._templates[path] = "/" + _PLACE.sub(r"{\1}", path.lstrip("/"))
        return known
