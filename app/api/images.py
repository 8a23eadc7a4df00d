"""Whole-image similarity over HTTP."""

from __future__ import annotations

from app.access.key import KeyRole
from app.api import schemas, validation
from app.api.operations import Call, Operation
from app.api.rows import new_image, raw
from app.errors import FetchFailed, FetchTimeout, GroupNotFound, IdExists, ImageNotFound, ModelMismatch

_TAG = "Images"
_GROUP = "/v1/image/groups/{name}"
_IMAGE = {"id": "photos/cat.jpg", "uri": "https://example.com/cat.jpg", "tag": "cats", "desc": {"name": "Tom"}}
_FETCHING = (GroupNotFound, ModelMismatch, FetchFailed, FetchTimeout)


def image_operations() -> list[Operation]:
    """The operations on images of a group."""
    return [
        Operation(
            "POST",
            f"{_GROUP}/add",
            "addImage",
            _TAG,
            "Add an image",
            _add,
            schemas.Added,
            body=schemas.PutImage,
            doc="An empty or missing `id` becomes a random one; an id that is there already is a 409.",
            errors=(*_FETCHING, IdExists),
            inference=True,
            body_example={"image": _IMAGE},
            answer_example={"id": "photos/cat.jpg"},
            role=KeyRole.WRITE,
        ),
        Operation(
            "POST",
            f"{_GROUP}/update",
            "updateImage",
            _TAG,
            "Replace an image, its tag and its description",
            _update,
            schemas.Updated,
            body=schemas.PutImage,
            doc="A reader sees the old image or the new one, never none and never both.",
            errors=(*_FETCHING, ImageNotFound),
            inference=True,
            body_example={"image": _IMAGE},
            role=KeyRole.WRITE,
        ),
        Operation(
            "POST",
            f"{_GROUP}/search",
            "searchImages",
            _TAG,
            "Find similar images",
            _search,
            schemas.ImageSearchResults,
            body=schemas.SearchImages,
            doc="One entry per image, in order. All or nothing: one bad image fails the request and names its `index`.",
            errors=_FETCHING,
            inference=True,
            body_example={"images": ["https://example.com/cat.jpg"], "threshold": 0.3, "limit": 5},
            answer_example={
                "search_results": [
                    {"results": [{"id": "photos/cat.jpg", "score": 1.0, "tag": "cats", "desc": {"name": "Tom"}}]}
                ]
            },
            role=KeyRole.READ,
        ),
    ]


def _group(call: Call) -> str:
    return validation.group_name(call.path["name"], faces=False)


async def _add(call: Call) -> schemas.Added:
    new = new_image(call.body.image, id_required=False)
    return schemas.Added(await call.services.images.add(_group(call), new))


async def _update(call: Call) -> schemas.Updated:
    new = new_image(call.body.image, id_required=True)
    await call.services.images.update(_group(call), new)
    return schemas.Updated()


async def _search(call: Call) -> schemas.ImageSearchResults:
    found = await call.services.images.search(
        _group(call),
        validation.images(call.body.images, most=call.settings.search_max_images),
        validation.terms(call.body, default_threshold=call.settings.image_threshold),
    )
    return schemas.ImageSearchResults(
        [
            schemas.ImageResults(
                [schemas.ImageHit(hit.row.id, hit.score, hit.row.tag, raw(hit.row.desc)) for hit in hits]
            )
            for hits in found
        ]
    )
