"""Serves the OpenAPI document and the documentation page (Swagger UI, from the installed package's files)."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path
from typing import Any

import msgspec
from sanic import HTTPResponse, Request, Sanic

from app.api.openapi import openapi_document
from app.api.operations import Operation
from app.errors import RouteNotFound

_PACKAGE = "drf-spectacular-sidecar"
_FOLDER = "swagger-ui-dist"
_ASSETS = {
    "swagger-ui.css": "text/css; charset=utf-8",
    "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
    "favicon-32x32.png": "image/png",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Likeness API</title>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="page"></div>
<noscript>This page needs JavaScript. The document itself is at <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#page",
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  docExpansion: "list",
  validatorUrl: null,
});
"""
# Everything comes from this server, and nothing stands in the page itself; Swagger UI shows pictures as data URIs.
_POLICY = (
    "default-src 'self'; style-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def add_documentation(app: Sanic[Any, Any], operations: list[Operation]) -> None:
    """Registers ``/openapi.json`` and ``/docs``."""
    document = msgspec.json.encode(openapi_document(operations))

    async def openapi(_: Request) -> HTTPResponse:
        return HTTPResponse(document, content_type="application/json")

    async def page(_: Request) -> HTTPResponse:
        headers = {"Content-Security-Policy": _POLICY}
        return HTTPResponse(_PAGE, headers=headers, content_type="text/html; charset=utf-8")

    async def asset(_: Request, name: str) -> HTTPResponse:
        if name == "start.js":
            return HTTPResponse(_START, content_type="text/javascript; charset=utf-8")
        path = _asset_path(name) if name in _ASSETS else None
        if path is None:
            raise RouteNotFound
        headers = {"Cache-Control": "public, max-age=86400"}
        return HTTPResponse(path.read_bytes(), headers=headers, content_type=_ASSETS[name])

    async def front(_: Request) -> HTTPResponse:
        return HTTPResponse("", 302, {"Location": "/docs"})

    app.add_route(front, "/", name="front")
    app.add_route(openapi, "/openapi.json", name="openapi")
    app.add_route(page, "/docs", name="docs")
    app.add_route(asset, "/docs/<name:str>", name="docs_asset")


def _asset_path(name: str) -> Path | None:
    """A file of the package; its Python code, made for another framework, is never imported."""
    for file in importlib.metadata.files(_PACKAGE) or []:
        if file.name == name and file.parent.name == _FOLDER:
            return Path(str(file.locate()))
    return None
