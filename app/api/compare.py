"""Comparing two groups of faces over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from app.access.key import KeyRole
from app.api import face_schemas, validation
from app.api.examples import FACE_BOX, FACE_HIT
from app.api.found_faces import face_hit
from app.api.operations import Call, NamedGroup, Operation, Stream
from app.api.rows import bounding_box, raw
from app.errors import DeadlineExceeded, GroupNotFound, ModelMismatch
from app.services.compare import ComparedFace


def compare_operations() -> list[Operation]:
    """The operation that compares groups."""
    return [
        Operation(
            "POST",
            "/v1/face/groups/{name}/compare",
            "compareFaceGroups",
            "Faces",
            "Find the faces of another group in this one",
            _compare,
            face_schemas.CompareResults,
            body=face_schemas.CompareGroups,
            doc="One entry for each face of `target_group` that has a hit in the group of the path, in the order of "
            "their ids; `limit` holds per face. A group may be compared with itself: a face is not its own hit. The "
            "answer is streamed; if it breaks off, the connection is reset.",
            errors=(GroupNotFound, ModelMismatch, DeadlineExceeded),
            body_example={"target_group": "visitors", "threshold": 0.45, "limit": 5},
            answer_example={
                "compare_results": [
                    {
                        "id": "visits/17.jpg",
                        "tag": "default",
                        "desc": {"door": "north"},
                        "bounding_box": FACE_BOX,
                        "faces": [FACE_HIT],
                    }
                ]
            },
            role=KeyRole.READ,
            groups_in_body=lambda body: [NamedGroup(body.target_group, KeyRole.READ)],
        ),
    ]


async def _compare(call: Call) -> Stream:
    base = validation.group_name(call.path["name"], faces=True)
    target = validation.target_group(call.body.target_group)
    terms = validation.score_terms(call.body, default_threshold=call.settings.face_threshold)
    return Stream("compare_results", _shapes(call.services.compare.compare(base, target, terms)))


async def _shapes(
    found: AsyncGenerator[list[ComparedFace], None],
) -> AsyncGenerator[list[face_schemas.ComparedFace], None]:
    async with aclosing(found) as portions:
        async for faces in portions:
            yield [_shape(face) for face in faces]


def _shape(face: ComparedFace) -> face_schemas.ComparedFace:
    row = face.row
    hits = [face_hit(hit) for hit in face.hits]
    return face_schemas.ComparedFace(row.id, row.tag, raw(row.desc), bounding_box(row.bounding_box), hits)
