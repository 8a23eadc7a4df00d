"""Taking a group out and putting it back over HTTP, alike for both families."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from app.access.key import KeyRole
from app.api import schemas, validation
from app.api.examples import FACE_BOX
from app.api.group_file import GroupFileReader, GroupFileRow, facts_of, group_file
from app.api.operations import LINES, Call, LineStream, Operation
from app.errors import (
    DamagedFile,
    GroupExists,
    GroupNotFound,
    InvalidRequest,
    ModelMismatch,
    Overloaded,
    RequestTimeout,
)
from app.store.records import Family

_ROW = {"id": "photos/ada.jpg", "tag": "staff", "desc": {"name": "Ada"}, "embedding": "AACAPwAAAL8AAAA+AAAAAA=="}
_HEADER = (
    '{"format":"likeness-group","version":1,"family":"%s","name":"staff","capacity":10000,"model":"four-numbers",'
    '"dimension":4,"metric":"L2","count":1}'
)


class Restored(msgspec.Struct):
    """The group is there again."""

    count: schemas.Count


def portability_operations(family: Family) -> list[Operation]:
    """The operations that move a group of one family as a whole."""
    faces = family is Family.FACE
    path = f"/v1/{family}/groups/{{name}}"
    tag = "Face groups" if faces else "Image groups"
    noun = "Face" if faces else "Image"
    row = _ROW | {"bounding_box": FACE_BOX} if faces else _ROW
    header = _HEADER % family

    def name(call: Call) -> str:
        return validation.group_name(call.path["name"], faces=faces)

    async def export(call: Call) -> LineStream:
        return LineStream(_exported(call, family, name(call)))

    async def restore(call: Call) -> Restored:
        wanted = name(call)
        reader = GroupFileReader(call.body)
        header = await reader.header()
        if header.family != family:
            message = f"The file holds a group of the family {header.family}: send it to /v1/{header.family}/groups/…."
            raise InvalidRequest(message)
        async with aclosing(reader.records()) as records:
            return Restored(await call.services.transfer.restore(facts_of(header, name=wanted), records))

    return [
        Operation(
            "GET",
            f"{path}/export",
            f"export{noun}Group",
            tag,
            "Take a group out, embeddings included",
            export,
            GroupFileRow,
            answer_kind=LINES,
            doc="JSON Lines, streamed. The first line is a header, such as "
            f"`{header}`; then comes each row in the order of the ids; the last line is "
            '`{"rows":1,"sha256":"…"}`: the number of rows and the SHA-256 of all bytes before that line. A file '
            "without it is not whole. Embeddings are 32-bit floats, little-endian, in base64. The group can be written "
            "to meanwhile: rows that change are in it as they were before or after. Of a group with `ttl_seconds` "
            "the header has that and version 2, and each row has `expires`.",
            errors=(GroupNotFound, Overloaded),
            answer_example=row,
            role=KeyRole.ADMIN,
        ),
        Operation(
            "POST",
            f"{path}/restore",
            f"restore{noun}Group",
            tag,
            "Make a group of an exported one",
            restore,
            Restored,
            body=GroupFileRow,
            body_kind=LINES,
            body_limit=lambda settings: settings.restore_max_bytes,
            doc="The body is what an export gave, header and last line included, not compressed; it may be larger than "
            "other bodies. The name in the path need not be that of the file. All or nothing: the group appears when "
            "the last line has vouched for all others, and of a file that is cut or altered nothing stays. Rows whose "
            "time is over by then are left out. A file of another model than the one served is a 409.",
            errors=(DamagedFile, GroupExists, ModelMismatch, RequestTimeout),
            body_example=row,
            answer_example={"count": 1},
            role=KeyRole.ADMIN,
        ),
    ]


async def _exported(call: Call, family: Family, name: str) -> AsyncGenerator[bytes, None]:
    async with call.services.transfer.export(family, name) as found, aclosing(group_file(found)) as pieces:
        async for piece in pieces:
            yield piece
