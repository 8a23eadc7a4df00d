"""Searching several groups of faces at once over HTTP."""

from __future__ import annotations

from app.access.key import KeyRole
from app.api import face_schemas, validation
from app.api.examples import FACE_BOX, FACE_HIT
from app.api.faces import face_query
from app.api.found_faces import group_face_results
from app.api.operations import Call, NamedGroup, Operation
from app.errors import FetchFailed, FetchTimeout, GroupNotFound, InvalidGroupName, ModelMismatch


def multi_face_operations() -> list[Operation]:
    """The operations on several groups of faces."""
    return [
        Operation(
            "POST",
            "/v1/face/groups/multi/search",
            "searchFaceGroups",
            "Faces",
            "Find similar faces in several groups",
            _search,
            face_schemas.GroupFaceSearchResults,
            body=face_schemas.SearchFaceGroups,
            doc="As the search of one group; the hits of all groups are merged by score, then cut to `limit`, and "
            "each names its `group`. A face without a hit in `groups` and in `cluster_group` is stored in "
            "`cluster_group`, under a random id and the tag `default`, and is its own single hit with score 1; tags "
            "that are named limit the hits, not the judgement whether a face is new.",
            errors=(InvalidGroupName, GroupNotFound, ModelMismatch, FetchFailed, FetchTimeout),
            inference=True,
            body_example={
                "images": ["https://example.com/ada2.jpg"],
                "groups": ["staff", "visitors"],
                "cluster_group": "unknown-visitors",
                "threshold": 0.45,
                "limit": 5,
            },
            answer_example={
                "search_results": [
                    {
                        "faces": [
                            {
                                "bounding_box": FACE_BOX,
                                "faces": [{**FACE_HIT, "tag": "default", "group": "staff"}],
                            }
                        ]
                    }
                ]
            },
            role=KeyRole.READ,
            groups_in_body=named_groups,
        ),
    ]


def named_groups(body: face_schemas.SearchFaceGroups | face_schemas.SearchBoxesInGroups) -> list[NamedGroup]:
    """The groups that a search of several names; that which takes those whom nobody knows is written to."""
    found = [NamedGroup(name, KeyRole.READ) for name in body.groups]
    return [*found, NamedGroup(body.cluster_group, KeyRole.WRITE)] if body.cluster_group else found


async def _search(call: Call) -> face_schemas.GroupFaceSearchResults:
    groups = validation.searched_groups(call.body.groups)
    found = await call.services.multi_faces.search(
        groups,
        face_query(call),
        validation.terms(call.body, default_threshold=call.settings.face_threshold),
        cluster_group=validation.cluster_group(call.body.cluster_group, groups),
    )
    return group_face_results(found)
