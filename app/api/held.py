"""Taking out all that is held under ids or tags over HTTP: what a person may ask for who is on the images."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from app.access.audit import now
from app.access.key import KeyRole
from app.api import schemas, validation
from app.api.group_file import GroupFileEnd, GroupFileRow, written
from app.api.operations import LINES, Call, LineStream, Operation
from app.errors import InvalidId, InvalidRequest, Overloaded
from app.services.transfer import HeldRows
from app.store.records import Family, Held, Record

_MOST: Final = 100
_ROW = {
    "family": "image",
    "group": "staff",
    "model": "four-numbers",
    "dimension": 4,
    "id": "photos/ada.jpg",
    "tag": "ada",
    "desc": {"name": "Ada"},
    "embedding": "AACAPwAAAL8AAAA+AAAAAA==",
}


class ExportHeld(Struct, kw_only=True):
    """Takes out what is held under ids or tags."""

    ids: Annotated[list[schemas.Id], Meta(max_length=_MOST, description="Ids, at most 100.")] = []
    tags: Annotated[list[schemas.Tag], Meta(max_length=_MOST, description="Tags, at most 100.")] = []


class HeldHeader(Struct, kw_only=True):
    """The first line."""

    format: Literal["likeness-held"] = "likeness-held"
    version: int = 1
    time: Annotated[str, Meta(description="When it was begun, UTC in ISO 8601.")]
    ids: list[str]
    tags: list[str]
    groups: Annotated[schemas.Count, Meta(description="Groups that are looked through: all that the key is for.")]


class HeldRow(GroupFileRow, kw_only=True):
    """An image that is held, and where."""

    family: Annotated[str, Meta(description="`image` or `face`.")]
    group: schemas.GroupName
    model: Annotated[str, Meta(description="The model that made the embedding.")]
    dimension: Annotated[int, Meta(ge=1, description="Numbers of the embedding.")]


def held_operations() -> list[Operation]:
    """The operation on all groups that a caller may see."""
    return [
        Operation(
            "POST",
            "/v1/export",
            "exportHeld",
            "Subjects",
            "Take out all that is held under ids or tags",
            _export,
            HeldRow,
            body=ExportHeld,
            answer_kind=LINES,
            doc="For a person who asks what is kept of them: every image with one of the ids or under one of the tags, "
            "in all groups of both families that the key is for. JSON Lines, streamed: a header with the time, the ids "
            "and tags, and the number of groups that are looked through; each image; a last line with the number of "
            "images and the SHA-256 of all bytes before it, without which the answer is not whole.",
            errors=(InvalidId, Overloaded),
            body_example={"ids": ["photos/ada.jpg"], "tags": ["ada"]},
            answer_example=_ROW,
            role=KeyRole.ADMIN,
        )
    ]


async def _export(call: Call) -> LineStream:
    body: ExportHeld = call.body
    ids = dict.fromkeys(validation.image_id(each, field="ids") for each in body.ids)
    tags = dict.fromkeys(validation.tag(each, field="tags") for each in body.tags)
    if not (ids or tags) or "" in ids:
        message = "Name at least one id or one tag, none of them empty."
        raise InvalidRequest(message)
    sees = call.caller.sees
    groups = [(family, name) for family, name in await call.services.transfer.groups() if sees(family, name)]
    return LineStream(_lines(call, groups, Held(tuple(ids), tuple(tags))))


async def _lines(call: Call, groups: list[tuple[Family, str]], under: Held) -> AsyncGenerator[bytes, None]:
    digest = hashlib.sha256()
    header = HeldHeader(time=now(), ids=list(under.ids), tags=list(under.tags), groups=len(groups))
    piece = msgspec.json.encode(header) + b"\n"
    digest.update(piece)
    count = 0
    async with call.services.transfer.held(groups, under) as found, aclosing(found):
        yield piece
        async for rows in found:
            piece = b"".join(msgspec.json.encode(_row(rows, record)) + b"\n" for record in rows.records)
            digest.update(piece)
            count += len(rows.records)
            if piece:
                yield piece
    yield msgspec.json.encode(GroupFileEnd(rows=count, sha256=digest.hexdigest())) + b"\n"


def _row(rows: HeldRows, record: Record) -> HeldRow:
    row = written(record)
    return HeldRow(
        family=rows.family.value,
        group=rows.group,
        model=rows.space.model_id,
        dimension=rows.space.dimension,
        id=row.id,
        tag=row.tag,
        desc=row.desc,
        bounding_box=row.bounding_box,
        embedding=row.embedding,
        expires=row.expires,
    )
