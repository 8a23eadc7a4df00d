"""Similar faces over HTTP."""

from __future__ import annotations

from msgspec import UNSET

from app.access.key import KeyRole
from app.api import face_schemas, validation
from app.api.boxes import given_box
from app.api.examples import FACE_BOX, FACE_HIT, FACE_QUALITY
from app.api.found_faces import face_quality, face_results
from app.api.operations import Call, Operation
from app.api.rows import bounding_box, new_image
from app.errors import (
    BadFace,
    FetchFailed,
    FetchTimeout,
    GroupNotFound,
    IdExists,
    ImageNotFound,
    InvalidBoundingBox,
    ModelMismatch,
    MultipleFaces,
    NoFace,
)
from app.services.face_search import NewFace, StoredFace
from app.services.query_faces import FaceQuery, QueryImage

_TAG = "Faces"
_GROUP = "/v1/face/groups/{name}"
_FETCHING = (GroupNotFound, ModelMismatch, FetchFailed, FetchTimeout)
_IMAGE = {"id": "staff/ada.jpg", "uri": "https://example.com/ada.jpg", "tag": "staff", "desc": {"name": "Ada"}}
_ADDED = {"id": "staff/ada.jpg", "bounding_box": FACE_BOX, "face_quality": FACE_QUALITY}
_ADDING = (*_FETCHING, NoFace, MultipleFaces, BadFace, InvalidBoundingBox)


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
            face_schemas.AddedFace,
            body=face_schemas.PutFace,
            doc="Faces smaller than the setting `LIKENESS_FACE_MIN_SIZE` are passed over. Where several are left, "
            "`LIKENESS_MULTI_FACES_MODE` decides: the image is refused, or its largest face is stored and "
            "`face_number` says how many there are. Where `bounding_box` says where the face is, nothing is detected "
            "beyond its landmarks, and the answer has neither `score` nor `face_quality` nor `face_number`. "
            "`reject_bad_face` stores only faces that are `clear` and `up`; else the error carries `face_quality`.",
            errors=(*_ADDING, IdExists),
            inference=True,
            body_example={"image": _IMAGE, "params": {"reject_bad_face": True}},
            answer_example=_ADDED,
            role=KeyRole.WRITE,
        ),
        Operation(
            "POST",
            f"{_GROUP}/update",
            "updateFace",
            _TAG,
            "Replace a face, its tag and its description",
            _update,
            face_schemas.AddedFace,
            body=face_schemas.PutFace,
            doc="A reader sees the old face or the new one, never none and never both.",
            errors=(*_ADDING, ImageNotFound),
            inference=True,
            body_example={"image": _IMAGE},
            answer_example=_ADDED,
            role=KeyRole.WRITE,
        ),
        Operation(
            "POST",
            f"{_GROUP}/search",
            "searchFaces",
            _TAG,
            "Find similar faces",
            _search,
            face_schemas.FaceSearchResults,
            body=face_schemas.SearchFaces,
            doc="One entry per image, in it one per detected face, in it the hits; `limit` holds per face. "
            "All or nothing: one bad image fails the request and names its `index`. `use_quality` searches only with "
            "faces that are `clear` and `up`; the others have no entry.",
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
            role=KeyRole.READ,
        ),
        Operation(
            "POST",
            f"{_GROUP}/cluster",
            "clusterFaces",
            _TAG,
            "Find similar faces, and store those that have none",
            _cluster,
            face_schemas.FaceSearchResults,
            body=face_schemas.SearchFaces,
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
            role=KeyRole.WRITE,
        ),
    ]


def _group(call: Call) -> str:
    return validation.group_name(call.path["name"], faces=True)


async def _add(call: Call) -> face_schemas.AddedFace:
    return _stored(await call.services.faces.add(_group(call), new_face(call.body, id_required=False)))


async def _update(call: Call) -> face_schemas.AddedFace:
    return _stored(await call.services.faces.update(_group(call), new_face(call.body, id_required=True)))


async def _search(call: Call) -> face_schemas.FaceSearchResults:
    terms = validation.terms(call.body, default_threshold=call.settings.face_threshold)
    return face_results(await call.services.faces.search(_group(call), face_query(call), terms))


async def _cluster(call: Call) -> face_schemas.FaceSearchResults:
    terms = validation.terms(call.body, default_threshold=call.settings.face_threshold)
    return face_results(await call.services.cluster.search(_group(call), face_query(call), terms))


def face_query(call: Call) -> FaceQuery:
    """What a search of whole images is made with.

    Raises:
        InvalidRequest: no images, or too many.
    """
    uris = validation.images(call.body.images, most=call.settings.search_max_images)
    return FaceQuery([QueryImage(uri) for uri in uris], good_only=bool(call.body.use_quality))


def new_face(body: face_schemas.PutFace, *, id_required: bool) -> NewFace:
    """What a client wants stored.

    Raises:
        InvalidRequest: a field is missing, too long or holds what it must not.
        InvalidBoundingBox: the box is none.
    """
    image, parameters = body.image, body.params
    reject = isinstance(parameters, face_schemas.FaceParameters) and bool(parameters.reject_bad_face)
    box = given_box(image.bounding_box, field="image.bounding_box")
    return NewFace(new_image(image, id_required=id_required), box, reject_bad=reject)


def _stored(face: StoredFace) -> face_schemas.AddedFace:
    return face_schemas.AddedFace(
        id=face.id,
        bounding_box=bounding_box(face.bounding_box),
        face_quality=UNSET if face.quality is None else face_quality(face.quality),
        face_number=face.number if face.number > 1 else UNSET,
    )
