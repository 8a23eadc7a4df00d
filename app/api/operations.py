"""What an operation of the API is: routes and OpenAPI are both made from these."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

import msgspec

from app.access.caller import ANYBODY, Caller
from app.access.key import KeyRole
from app.config import Settings
from app.errors import LikenessError
from app.wiring import Services

JSON = "application/json"
LINES = "application/x-ndjson"  # JSON Lines: one JSON value per line


@dataclass(frozen=True, slots=True)
class Call:
    """One request, parsed.

    Attributes:
        services: the use cases.
        settings: limits and defaults.
        path: path parameters.
        query: first value of each query parameter.
        body: the validated body, where the operation has one; of JSON Lines its bytes, unread, some at a time.
        caller: who asks; what it may not know of is not told.
        accept: the media types that the client takes.
    """

    services: Services
    settings: Settings
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    caller: Caller = ANYBODY
    accept: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with a status of its own."""

    content: msgspec.Struct
    status: int = 200


@dataclass(frozen=True, slots=True)
class Text:
    """An answer that is no JSON, and its media type."""

    content: bytes
    kind: str


@dataclass(frozen=True, slots=True, eq=False)
class Stream:
    """An answer that is sent while it is still being found.

    Attributes:
        field: the one field of the answer, a list.
        items: its entries, some at a time.
    """

    field: str
    items: AsyncGenerator[Sequence[msgspec.Struct], None]


@dataclass(frozen=True, slots=True, eq=False)
class LineStream:
    """An answer in JSON Lines that is sent while it is still being found.

    Attributes:
        pieces: its text, some whole lines at a time.
    """

    pieces: AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A query parameter, for the documentation.

    Attributes:
        name: in the query.
        kind: of JSON Schema.
        doc: what it does.
        most: greatest number; the least is 0.
    """

    name: str
    kind: str
    doc: str
    most: int | None = None


@dataclass(frozen=True, slots=True)
class NamedGroup:
    """A group of faces that a body names.

    Attributes:
        name: as sent, unchecked.
        role: what the caller must be allowed to do there.
    """

    name: str
    role: KeyRole


def names_no_group(_: Any) -> list[NamedGroup]:
    """For bodies that name none."""
    return []


@dataclass(frozen=True, slots=True)
class Operation:
    """One path with one method.

    Attributes:
        method: ``GET`` or ``POST``.
        path: with ``{name}`` for parameters.
        id: unique name for generated clients.
        tag: chapter of the documentation.
        summary: one line.
        handle: one service call; its result is serialised, or streamed.
        answer: shape of the result.
        body: shape of the body, or of most of its lines; none where there is none.
        body_kind: ``JSON``, or ``LINES``: then the body is read by ``handle`` as it comes, for as long as it comes.
        body_limit: most bytes of the body.
        answer_kind: ``JSON``, or ``LINES``, where ``answer`` is the shape of most lines.
        doc: what is worth knowing beyond the summary.
        query: query parameters.
        errors: what it may answer beyond invalid input and overload.
        inference: whether it decodes images or calls models, which is admitted by permit.
        body_example: a real body.
        answer_example: a real answer.
        answer_status: of a good answer.
        answers_503: whether the shape of the result also comes with status 503.
        role: what a key must be allowed to do; None where no key is asked for. There is no default: whoever adds an
            operation decides.
        groups_in_body: the groups that its body names, each of which the caller must be allowed to see.
        all_groups: whether what it tells is of all groups together, so that it needs a key for all of them.
    """

    method: str
    path: str
    id: str
    tag: str
    summary: str
    handle: Callable[[Call], Awaitable[msgspec.Struct | Answer | Text | Stream | LineStream]]
    answer: type[msgspec.Struct] | type[str]
    body: type[msgspec.Struct] | None = None
    body_kind: str = JSON
    body_limit: Callable[[Settings], int] = attrgetter("max_body_bytes")
    answer_kind: str = JSON
    doc: str = ""
    query: tuple[Parameter, ...] = ()
    errors: tuple[type[LikenessError], ...] = ()
    inference: bool = False
    body_example: Any = None
    answer_example: Any = field(default_factory=dict)
    answer_status: int = 200
    answers_503: bool = False
    role: KeyRole | None = field(kw_only=True)
    groups_in_body: Callable[[Any], list[NamedGroup]] = field(default=names_no_group, kw_only=True)
    all_groups: bool = field(default=False, kw_only=True)

    @property
    def family(self) -> str:
        """``face`` or ``image``, where its path is of one; else empty."""
        first, _, rest = self.path.removeprefix("/v1/").partition("/")
        return first if rest and first in {"face", "image"} else ""
