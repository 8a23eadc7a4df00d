"""Boxes that clients give: four corners around a face, checked as far as it can be done without the image."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from msgspec import UNSET, Raw, UnsetType

from app.api import face_schemas
from app.errors import InvalidBoundingBox, InvalidRequest
from app.services.face_finder import Points
from app.services.query_faces import QueryImage
from app.vision.quadrilateral import Quadrilateral

_MAX_BOXES = 128
_FARTHEST = 1_000_000  # pixels; no image is so large
_FORM = "send four corners [x, y]: the face's top left, top right, bottom right, bottom left"


def given_box(box: object, *, field: str, index: int | None = None) -> Points | None:
    """The corners of a box, none where it was not given.

    Args:
        box: what the body has in its place.
        field: how the body names it.
        index: position of the list item that it belongs to.

    Raises:
        InvalidBoundingBox: it is no quadrilateral; the sentence says why.
    """
    if not isinstance(box, face_schemas.FaceBox) or (points := _parsed(box.pts, field, index)) in (None, []):
        return None
    if not isinstance(points, list) or len(points) != 4:
        found = f"{len(points)} points" if isinstance(points, list) else "no array"
        raise InvalidBoundingBox(f"{field}.pts has {found}: {_FORM}.", index=index)
    corners = tuple(_corner(point, field, index) for point in points)
    try:
        Quadrilateral(np.array(corners))
    except ValueError as error:
        raise InvalidBoundingBox(f"{field}.pts is no box around a face, {error}: {_FORM}.", index=index) from error
    return corners


def boxed_images(data: list[face_schemas.BoxedImage], *, most: int) -> list[QueryImage]:
    """The images of a search with given boxes.

    Raises:
        InvalidRequest: none or too many images, or too many boxes.
        InvalidBoundingBox: a box is none.
    """
    if not 1 <= len(data) <= most:
        message = f"data has {len(data)} entries: send 1 to {most}."
        raise InvalidRequest(message)
    return [_boxed_image(image, index) for index, image in enumerate(data)]


def _boxed_image(image: face_schemas.BoxedImage, index: int) -> QueryImage:
    attribute = image.attribute if isinstance(image.attribute, face_schemas.FaceBoxes) else None
    boxes = (attribute.bounding_boxes if attribute is not None else None) or []
    if len(boxes) > _MAX_BOXES:
        message = f"data[{index}] has {len(boxes)} boxes: at most {_MAX_BOXES} can be searched with at once."
        raise InvalidRequest(message, index=index)
    points = []
    for number, box in enumerate(boxes):
        field = f"data[{index}].attribute.bounding_boxes[{number}]"
        corners = given_box(box, field=field, index=index)
        if corners is None:  # the answer could not be in the order of the boxes
            raise InvalidBoundingBox(f"{field}.pts is missing: {_FORM}.", index=index)
        points.append(corners)
    return QueryImage(image.uri, tuple(points))


def _parsed(sent: Raw | UnsetType, field: str, index: int | None) -> Any:
    if sent is UNSET:
        return None
    try:
        return msgspec.json.decode(bytes(sent))
    except (msgspec.DecodeError, RecursionError) as error:  # a number beyond all bounds, arrays without end
        raise InvalidBoundingBox(f"{field}.pts holds what is no number of pixels: {_FORM}.", index=index) from error


def _corner(point: Any, field: str, index: int | None) -> tuple[float, float]:
    if isinstance(point, list) and len(point) == 2 and all(_is_coordinate(value) for value in point):
        x, y = point
        return float(x), float(y)
    message = f"{field}.pts must hold four pairs of numbers of pixels: {_FORM}."
    raise InvalidBoundingBox(message, index=index)


def _is_coordinate(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -_FARTHEST <= value <= _FARTHEST
