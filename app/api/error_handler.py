"""The one place where errors become answers, all of one shape."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
from typing import Any

import msgspec
from sanic import HTTPResponse, Request
from sanic.exceptions import SanicException
from sanic.handlers import ErrorHandler

from app.errors import (
    ClientGone,
    InternalError,
    LikenessError,
    MethodNotAllowed,
    Overloaded,
    RequestTimeout,
    RouteNotFound,
    TooLarge,
    Unauthorized,
)
from app.metrics import RequestMetrics

REQUEST_ID = "X-Request-ID"
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
# What Sanic finds wrong and our tree has a name and a sentence for.
_OWN_KINDS: dict[int, type[LikenessError]] = {404: RouteNotFound, 405: MethodNotAllowed, 408: RequestTimeout}
_SENTENCES = {
    400: "The request is not valid HTTP: check its path, headers and body.",
    417: "The header Expect may only ask for 100-continue.",
    503: "The service could not answer in time: try again later.",
}
_CODES = {400: "invalid_request", 417: "expectation_failed", 503: "response_timeout"}


class OneShapeErrors(ErrorHandler):
    """Answers every error, Sanic's own included, with the one shape.

    Args:
        metrics: told of each.
    """

    def __init__(self, metrics: RequestMetrics) -> None:
        super().__init__()
        self._metrics = metrics
        self._log = logging.getLogger("likeness.api")

    def default(self, request: Request, exception: Exception) -> HTTPResponse:
        """Makes the answer to an error."""
        error = exception if isinstance(exception, LikenessError) else self._translated(exception)
        status, code = error.status, error.code
        sentence = error.message
        if isinstance(exception, SanicException) and type(error) is LikenessError:
            status, code = exception.status_code, _CODES.get(exception.status_code, "invalid_request")
        self._metrics.error(code)
        body: dict[str, Any] = {"error": sentence, "code": code, "request_id": request_id(request)}
        if error.index is not None:
            body["index"] = error.index
        body.update(error.extra)
        headers = {REQUEST_ID: body["request_id"]}
        if error.retry_after is not None or status == 503:  # Sanic has one of its own
            headers["Retry-After"] = str(error.retry_after or 1)
        if isinstance(error, Overloaded):
            self._metrics.rejected(error.limit)
        if isinstance(error, Unauthorized):
            headers["WWW-Authenticate"] = error.challenge
        if isinstance(error, MethodNotAllowed):
            headers["Allow"] = ", ".join(sorted(getattr(exception, "allowed_methods", None) or ("GET", "POST")))
        if status >= 500 and isinstance(exception, LikenessError):
            self._log.warning("%s (%s)", sentence, _cause(error))
        return HTTPResponse(msgspec.json.encode(body), status, headers, content_type="application/json")

    def _translated(self, exception: Exception) -> LikenessError:
        if isinstance(exception, SanicException):
            status = exception.status_code
            if status in _OWN_KINDS:
                return _OWN_KINDS[status]()
            if status == 413:
                return TooLarge("The request is too large: send less at once.")
            if status < 500 or status in _SENTENCES:
                return LikenessError(_SENTENCES.get(status, "The request is not valid HTTP."))
        if isinstance(exception, asyncio.CancelledError):
            self._log.debug("The client has gone")
            return ClientGone()
        self._log.error("%s", exception, exc_info=exception)
        return InternalError()


def request_id(request: Request | None) -> str:
    """The id of a request: the client's own where it is sane, else a random one."""
    if request is None:
        return secrets.token_hex(8)
    known: str | None = getattr(request.ctx, "request_id", None)
    if known is None:
        sent = request.headers.get(REQUEST_ID, "") if request.headers is not None else ""
        known = sent if _REQUEST_ID.fullmatch(sent) else secrets.token_hex(8)
        request.ctx.request_id = known
    return known


def _cause(error: BaseException) -> str:
    """What a backend said, on one line: for the log only."""
    cause = error.__cause__
    return " ".join(str(cause).split())[:500] if cause is not None else "no further cause"
