"""What browsers are told, and what pages of other sites may make them send."""

from __future__ import annotations

import ipaddress
from typing import Any
from urllib.parse import urlsplit

from sanic import HTTPResponse, Request, Sanic
from sanic.response import BaseHTTPResponse

from app.access.exposure import is_loopback
from app.api.error_handler import REQUEST_ID
from app.config import Settings
from app.errors import ForeignPage

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": f"Authorization, Content-Type, X-API-Key, {REQUEST_ID}, X-Request-Timeout",
    "Access-Control-Max-Age": "600",
}
_OWN_PAGES = {"same-origin", "none"}


class Browsers:
    """Sets the headers of every answer, and keeps foreign pages out.

    A service on loopback asks for no key, so that any page which a user of the machine opens could send it a request:
    by a form or a script, whose ``Origin`` tells where it is from, or under a name of the page's own site that was made
    to lead to 127.0.0.1, which the ``Host`` tells.

    Args:
        settings: whose pages may call, and where the service listens.
    """

    def __init__(self, settings: Settings) -> None:
        self._allowed = frozenset(origin.lower() for origin in settings.cors_origins)
        self._only_local_names = settings.keys == "auto" and is_loopback(settings.host)

    def add(self, app: Sanic[Any, Any]) -> None:
        """Registers what is done before and after each request."""
        app.register_middleware(self._before, "request")
        app.register_middleware(self._after, "response")

    async def _before(self, request: Request) -> HTTPResponse | None:
        host = request.headers.get("host", "")
        if self._only_local_names and not _is_local_name(host):
            message = (
                "Without keys the service answers on loopback only to names of this machine, such as localhost, not to "
                "that in the header Host: make keys, or set LIKENESS_KEYS=off where a proxy in front knows its clients."
            )
            raise ForeignPage(message)
        origin = request.headers.get("origin", "").lower()
        allowed = origin in self._allowed
        if request.method == "OPTIONS" and allowed and "access-control-request-method" in request.headers:
            return HTTPResponse(status=204, headers=_PREFLIGHT)
        if request.method == "POST" and not allowed and _is_foreign(request, origin, host):
            message = "A page of another site sent this: name its origin in LIKENESS_CORS_ORIGINS where it may."
            raise ForeignPage(message)
        return None

    async def _after(self, request: Request, response: BaseHTTPResponse) -> None:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        if self._allowed:
            response.headers["Vary"] = "Origin"
            origin = request.headers.get("origin", "")
            if origin.lower() in self._allowed:
                response.headers["Access-Control-Allow-Origin"] = origin
                response.headers["Access-Control-Expose-Headers"] = f"{REQUEST_ID}, Retry-After"


def _is_local_name(host: str) -> bool:
    """Whether nobody outside can have made this name lead here: an address, or a name without a dot."""
    name = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return "." not in name.rstrip(".") or name.rstrip(".").endswith(".localhost")
    return True


def _is_foreign(request: Request, origin: str, host: str) -> bool:
    site = request.headers.get("sec-fetch-site")
    if site is not None:
        return site not in _OWN_PAGES
    return bool(origin) and urlsplit(origin).netloc != host.lower()
