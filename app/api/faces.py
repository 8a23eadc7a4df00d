"""Similar faces over HTTP."""

from __future__ import annotations

from app.api import schemas, validation
from app.api.examples import FACE_BOX, FACE_HIT
from app.api.found_faces import face_results
from app.api.operations import Call, Operation
from app.api.rows import bounding_box, new_image
from app.errors import (
    FetchFailed,
    FetchTimeout,
    GroupNotFound,
    IdExists,
    ImageNotFound,
    ModelMismatch,
    MultipleFaces,
    NoFace,
)
from app.services.face_search import StoredFace

_TAG = "Faces"
_GROUP = "/v1/face/groups/{name}"
_FETCHING = (GroupNotFound, ModelMismatch, FetchFailed, FetchTimeout)
_IMAGE = {"id": "staff/ada.jpg", "uri": "https://example.com/ada.jpg", "tag": "staff", "desc": {"name": "Ada"}}
_ADDED = {"id": "staff/ada.jpg", "bounding_box": FACE_BOX}


def face_operations() -> list[Operation]:
    """The operations on faces of a group."""
    return [
        Operation(
            "POST",
            f"{_GROUP}/add",
            "addFace",
            _TAG,
            "Add the largest face of an image",
            _add,
            schemas.AddedFace,
            body=schemas.PutFace,
            doc="Faces smaller than the setting `LIKENESS_FACE_MIN_SIZE` are passed over. Where several are left, "
            "`LIKENESS_MULTI_FACES_MODE` decides: the image is refused, or its largest face is stored and "
            "`face_number` says how many there are.",
            errors=(*_FETCHING, IdExists, NoFace, MultipleFaces),
            inference=True,
            body_example={"image": _IMAGE},
            answer_example=_ADDED,
        ),
        Operation(
            "POST",
            f"{_GROUP}/update",
            "updateFace",
            _TAG,
            "Replace a face, its tag and its description",
            _update,
            schemas.AddedFace,
            body=schemas.PutFace,
            doc="A reader sees the old face or the new one, never none and never both.",
            errors=(*_FETCHING, ImageNotFound, NoFace, MultipleFaces),
            inference=True,
            body_example={"image": _IMAGE},
            answer_example=_ADDED,
        ),
        Operation(
            "POST",
            f"{_GROUP}/search",
            "searchFaces",
            _TAG,
            "Find similar faces",
            _search,
            schemas.FaceSearchResults,
            body=schemas.SearchFaces,
            doc="One entry per image, in it one per detected face, in it the hits; `limit` holds per face. "
            "All or nothing: one bad image fails the request and names its `index`.",
            errors=_FETCHING,
            inference=True,
            body_example={"images": ["https://example.com/ada2.jpg"], "threshold": 0.45, "limit": 5},
            answer_example={
                "search_results": [
                    {
                        "faces": [
                            {
                                "bounding_box": FACE_BOX,
                                "faces": [FACE_HIT],
                            }
                        ]
                    }
                ]
            },
        ),
        Operation(
            "POST",
            f"{_GROUP}/cluster",
            "clusterFaces",
            _TAG,
            "Find similar faces, and store those that have none",
            _cluster,
            schemas.FaceSearchResults,
            body=schemas.SearchFaces,
            doc="As search. A face without a similar one in the group is stored under a random id and the tag "
            "`default`, and is its own single hit with score 1. Faces are taken in their order; a new person who is "
            "there several times, in one request or in several at once, is stored once. Tags that are named limit the "
            "hits, not the judgement whether a face is new.",
            errors=_FETCHING,
            inference=True,
            body_example={"images": ["https://example.com/visitor.jpg"], "threshold": 0.45, "limit": 5},
            answer_example={
                "search_results": [
                    {
                        "faces": [
                            {
                                "bounding_box": FACE_BOX,
                                "faces": [
                                    {
                                        "score": 1.0,
                                        "id": "q83vEjRWeJCrze8SNFZ4kA",
                                        "tag": "default",
                                        "desc": {},
                                        "bounding_box": FACE_BOX,
                                    }
                                ],
                            }
                        ]
                    }
                ]
            },
        ),
    ]


def _group(call: Call) -> str:
    return validation.group_name(call.path["name"], faces=True)


async def _add(call: Call) -> schemas.AddedFace:
    new = new_image(validation.face_image(call.body), id_required=False)
    return _stored(await call.services.faces.add(_group(call), new))


async def _update(call: Call) -> schemas.AddedFace:
    new = new_image(validation.face_image(call.body), id_required=True)
    return _stored(await call.services.faces.update(_group(call), new))


async def _search(call: Call) -> schemas.FaceSearchResults:
    validation.unsupported(call.body.use_quality, field="use_quality")
    found = await call.services.faces.search(
        _group(call),
        validation.images(call.body.images, most=call.settings.search_max_images),
        validation.terms(call.body, default_threshold=call.settings.face_threshold),
    )
    return face_results(found)


async def _cluster(call: Call) -> schemas.FaceSearchResults:
    validation.unsupported(call.body.use_quality, field="use_quality")
    found = await call.services.cluster.search(
        _group(call),
        validation.images(call.body.images, most=call.settings.search_max_images),
        validation.terms(call.body, default_threshold=call.settings.face_threshold),
    )
    return face_results(found)


def _stored(face: StoredFace) -> schemas.AddedFace:
    box = bounding_box(face.bounding_box)
    if face.number > 1:
        return schemas.AddedFace(face.id, box, face.number)
    return schemas.AddedFace(face.id, box)
