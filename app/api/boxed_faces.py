"""Searching with faces whose boxes the caller gives, over HTTP."""

from __future__ import annotations

from app.access.key import KeyRole
from app.api import face_schemas, validation
from app.api.boxes import boxed_images
from app.api.examples import FACE_BOX, FACE_HIT
from app.api.found_faces import face_results, group_face_results
from app.api.multi_faces import named_groups
from app.api.operations import Call, Operation
from app.errors import FetchFailed, FetchTimeout, GroupNotFound, InvalidBoundingBox, InvalidGroupName, ModelMismatch
from app.services.query_faces import FaceQuery
from app.services.rows import Terms

_ERRORS = (InvalidBoundingBox, GroupNotFound, ModelMismatch, FetchFailed, FetchTimeout)
_GIVEN_BOX = {"pts": FACE_BOX["pts"]}
_DOC = (
    "The faces come in the order of the boxes, and their `bounding_box` has no `score`; an image without boxes has its "
    "faces detected, as in the search without boxes. A box may be any quadrilateral: it is rectified, and the face's "
    "landmarks are looked for in it. `tag` and `tags` may stand in `params` or beside it."
)
_BODY = {
    "data": [{"uri": "https://example.com/ada2.jpg", "attribute": {"bounding_boxes": [_GIVEN_BOX]}}],
    "params": {"threshold": 0.45, "limit": 5},
}


def boxed_face_operations() -> list[Operation]:
    """The searches with given boxes."""
    return [
        Operation(
            "POST",
            "/v1/face/groups/{name}/pts/search",
            "searchFacesInBoxes",
            "Faces",
            "Find faces similar to those in given boxes",
            _search,
            face_schemas.FaceSearchResults,
            body=face_schemas.SearchBoxes,
            doc=_DOC,
            errors=_ERRORS,
            inference=True,
            body_example=_BODY,
            answer_example={"search_results": [{"faces": [{"bounding_box": _GIVEN_BOX, "faces": [FACE_HIT]}]}]},
            role=KeyRole.READ,
        ),
        Operation(
            "POST",
            "/v1/face/groups/multi/pts/search",
            "searchFaceGroupsInBoxes",
            "Faces",
            "Find faces similar to those in given boxes in several groups",
            _search_groups,
            face_schemas.GroupFaceSearchResults,
            body=face_schemas.SearchBoxesInGroups,
            doc=f"{_DOC} `groups` and `cluster_group` are as in the search of several groups.",
            errors=(InvalidGroupName, *_ERRORS),
            inference=True,
            body_example={**_BODY, "groups": ["staff", "visitors"], "cluster_group": "unknown-visitors"},
            answer_example={
                "search_results": [{"faces": [{"bounding_box": _GIVEN_BOX, "faces": [{**FACE_HIT, "group": "staff"}]}]}]
            },
            role=KeyRole.READ,
            groups_in_body=named_groups,
        ),
    ]


async def _search(call: Call) -> face_schemas.FaceSearchResults:
    group = validation.group_name(call.path["name"], faces=True)
    return face_results(await call.services.faces.search(group, _query(call), _terms(call)))


async def _search_groups(call: Call) -> face_schemas.GroupFaceSearchResults:
    groups = validation.searched_groups(call.body.groups)
    cluster_group = validation.cluster_group(call.body.cluster_group, groups)
    found = await call.services.multi_faces.search(groups, _query(call), _terms(call), cluster_group=cluster_group)
    return group_face_results(found)


def _query(call: Call) -> FaceQuery:
    return FaceQuery(boxed_images(call.body.data, most=call.settings.search_max_images))


def _terms(call: Call) -> Terms:
    sent = call.body.params
    return validation.terms(
        sent if isinstance(sent, face_schemas.BoxParameters) else face_schemas.BoxParameters(),
        default_threshold=call.settings.face_threshold,
        tag_beside=call.body.tag,
        tags_beside=call.body.tags,
    )
