"""Rows between the API's shapes and the use cases'."""

from __future__ import annotations

from msgspec import Raw

from app.api import schemas, validation
from app.services.rows import NewImage
from app.store.records import BoundingBox

_DECIMALS = 6


def new_image(image: schemas.Image, *, id_required: bool) -> NewImage:
    """Checks what a client wants stored.

    Raises:
        InvalidRequest: a field is missing, too long or holds what it must not.
    """
    return NewImage(
        id=validation.required_id(image.id) if id_required else validation.image_id(image.id),
        uri=image.uri,
        tag=validation.tag(image.tag),
        desc=validation.desc(image.desc),
    )


def raw(text: str) -> Raw:
    """JSON text as it stands in an answer."""
    return Raw(text.encode())


def bounding_box(box: BoundingBox | None) -> schemas.BoundingBox:
    """A stored or detected box as the API shows it; without a score where the caller gave the box."""
    assert box is not None, "every row of a face group has a box"
    points = [list(point) for point in box.pts]
    if box.score is None:
        return schemas.BoundingBox(points)
    return schemas.BoundingBox(points, round(box.score, _DECIMALS))
