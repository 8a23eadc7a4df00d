"""Traces each HTTP request, from its route to the end of its answer."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from sanic import Request, Sanic
from sanic.response import BaseHTTPResponse

from app.otlp import RequestTrace, Traces
from app.stages import observe_stages
from app.traces import keep_trace

_UNMATCHED = "unmatched"
_METHODS = {"GET", "POST", "HEAD", "OPTIONS", "PUT", "PATCH", "DELETE"}
_PLACE = re.compile(r"<(\w+)(:[^>]*)?>")
_CLIENT_GONE = 499
# Asked for again and again by machines and browsers.
_UNTRACED = ("/health", "/docs", "/metrics", "/openapi.json")


def trace_requests(app: Sanic[Any, Any], traces: Traces) -> None:
    """Begins a trace with each request of the API, for all that is done in its task and in those it starts."""

    async def begin(request: Request) -> None:
        route = _template(request)
        if route.startswith(_UNTRACED):
            return
        method = request.method if request.method in _METHODS else "other"
        trace = traces.begin(method, route, request.headers)
        task = asyncio.current_task()
        assert task is not None, "requests are handled in tasks"

        def gone(_: object) -> None:
            trace.end(_CLIENT_GONE)

        # The task of a connection, which ends without an answer where the client has gone.
        task.add_done_callback(gone)
        request.ctx.trace = (trace, task, gone)
        keep_trace(trace)
        observe_stages(trace)

    async def end(request: Request, response: BaseHTTPResponse) -> None:
        begun: tuple[RequestTrace, asyncio.Task[Any], Any] | None = getattr(request.ctx, "trace", None)
        if begun is not None:
            trace, task, gone = begun
            request.ctx.trace = None
            task.remove_done_callback(gone)
            trace.end(response.status)
        keep_trace(None)
        observe_stages(None)

    app.register_middleware(begin, "request")
    # Also of answers that are sent in pieces it comes at the end, other than the middleware of responses.
    app.add_signal(end, "http.lifecycle.response")


def _template(request: Request) -> str:
    """The path with the names of its parameters instead of their values."""
    if request.route is None:
        return _UNMATCHED
    path: str = request.route.path
    return "/" + _PLACE.sub(r"{\1}", path.lstrip("/"))
