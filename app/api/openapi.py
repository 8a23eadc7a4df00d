"""The OpenAPI document, made from the operations and the very schemas that validate."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from app import __version__
from app.api import face_schemas, schemas
from app.api.operations import Operation, names_no_group
from app.errors import (
    BackendUnavailable,
    BlockedAddress,
    DeadlineExceeded,
    Forbidden,
    ForeignPage,
    InternalError,
    InvalidGroupName,
    InvalidId,
    InvalidJson,
    InvalidMarker,
    InvalidRequest,
    LikenessError,
    OutOfResources,
    Overloaded,
    RateLimited,
    TooLarge,
    Unauthorized,
    UndecodableImage,
    UnsupportedUri,
)

_DESCRIPTION = """Finds similar images and similar faces in named groups.

A *group* is a named library of images (or of faces). Each image has an `id`, a `tag` and a free JSON `desc`.
A write that was answered 200 is seen by every later read and survives a crash.
Every error has the shape of the schema `Error`; its `code` is for programs, its `error` for people."""

_TAGS = {
    "Image groups": "Libraries of whole images.",
    "Images": "Whole-image similarity.",
    "Face groups": "Libraries of faces.",
    "Faces": "Face similarity.",
    "Jobs": "Imports in the background.",
    "Subjects": "What is kept of a person.",
    "Health": "For load balancers and Prometheus.",
}

_KEYS = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key, `lk_…`. The operator decides whether the service asks for keys: on loopback it does not "
        "by default.",
    },
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key, likewise."},
}

# Bodies that have an id that may be malformed.
_WITH_IDS = (schemas.PutImage, schemas.DeleteImages, face_schemas.PutFace)

_GROUP_NAME = {"type": "string", "pattern": "^[a-z][a-z0-9_-]{2,31}$", "example": "pets"}
_PATH_PARAMETERS: dict[str, dict[str, Any]] = {
    "name": {"description": "Name of the group.", "schema": _GROUP_NAME},
    "id": {
        "description": "Id of the image, percent-encoded.",
        "schema": {"type": "string", "example": "photos/cat.jpg"},
    },
    "job": {"description": "Id of the import.", "schema": {"type": "string", "example": "q83vEjRWeJCrze8SNFZ4kA"}},
}


def openapi_document(operations: list[Operation]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of some operations."""
    shapes: list[type[msgspec.Struct]] = [schemas.Error]
    for operation in operations:
        for shape in (operation.body, operation.answer):
            if shape is not None and shape not in shapes and issubclass(shape, msgspec.Struct):
                shapes.append(shape)
    _, components = msgspec.json.schema_components(shapes, ref_template="#/components/schemas/{name}")
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Likeness",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": doc} for name, doc in _TAGS.items()],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _KEYS},
    }


def _operation(operation: Operation) -> dict[str, Any]:
    document: dict[str, Any] = {
        "operationId": operation.id,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [*_path_parameters(operation), *_query_parameters(operation)],
        "responses": {str(operation.answer_status): _answer(operation, _description(operation))},
    }
    document["security"] = [{name: []} for name in _KEYS] if operation.role is not None else []
    document["description"] = " ".join(part for part in (operation.doc, _role(operation)) if part)
    if operation.body is not None:
        media = {"schema": _reference(operation.body), "example": operation.body_example}
        document["requestBody"] = {"required": True, "content": {operation.body_kind: media}}
    for status, kinds in sorted(_errors(operation).items()):
        document["responses"][str(status)] = _error_answer(kinds)
    if operation.answers_503:
        document["responses"]["503"] = _answer(operation, "A part does not answer; `parts` says which.", example=False)
    return document


def _role(operation: Operation) -> str:
    return f"Needs a key with the role `{operation.role}`." if operation.role is not None else "Needs no key."


def _reference(shape: type[msgspec.Struct] | type[str]) -> dict[str, str]:
    if shape is str:
        return {"type": "string"}
    return {"$ref": f"#/components/schemas/{shape.__name__}"}


def _description(operation: Operation) -> str:
    return (operation.answer.__doc__ if operation.answer is not str else None) or "Done."


def _answer(operation: Operation, description: str, *, example: bool = True) -> dict[str, Any]:
    media: dict[str, Any] = {"schema": _reference(operation.answer)}
    if example:
        media["example"] = operation.answer_example
    return {"description": description.splitlines()[0], "content": {operation.answer_kind: media}}


def _path_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, **_PATH_PARAMETERS[name]}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]


def _query_parameters(operation: Operation) -> list[dict[str, Any]]:
    return [
        {
            "name": item.name,
            "in": "query",
            "required": False,
            "description": item.doc,
            "schema": {"type": item.kind} | ({} if item.most is None else {"minimum": 0, "maximum": item.most}),
        }
        for item in operation.query
    ]


def _errors(operation: Operation) -> dict[int, list[type[LikenessError]]]:
    # Of any operation: a head that is too large, an X-Request-Timeout that is wrong or too short.
    kinds: list[type[LikenessError]] = [*operation.errors, TooLarge, InvalidRequest, DeadlineExceeded]
    if operation.role is not None:
        kinds += [Unauthorized, Forbidden, ForeignPage, RateLimited]
    if "{name}" in operation.path or operation.groups_in_body is not names_no_group:
        kinds.append(InvalidGroupName)
    if any(item.name == "marker" for item in operation.query):
        kinds.append(InvalidMarker)
    if "{id}" in operation.path or operation.body in _WITH_IDS:
        kinds.append(InvalidId)
    if operation.body is not None:
        kinds += [InvalidJson, Overloaded]
    if operation.inference:
        kinds += [UnsupportedUri, BlockedAddress, UndecodableImage]
    if operation.tag != "Health":
        kinds += [BackendUnavailable, OutOfResources, InternalError]
    by_status: dict[int, list[type[LikenessError]]] = {}
    for kind in dict.fromkeys(kinds):
        by_status.setdefault(kind.status, []).append(kind)
    return by_status


def _error_answer(kinds: list[type[LikenessError]]) -> dict[str, Any]:
    lines = [f"`{kind.code}`: {(kind.__doc__ or '').splitlines()[0]}" for kind in kinds]
    answer: dict[str, Any] = {
        "description": " ".join(lines),
        "content": {"application/json": {"schema": _reference(schemas.Error)}},
    }
    if any(kind.retry_after for kind in kinds):
        answer["headers"] = {
            "Retry-After": {"description": "Seconds to wait before the next try.", "schema": {"type": "integer"}}
        }
    return answer
