"""Boxes that clients give: four corners around a face, checked as far as it can be done without the image."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from app.api import face_schemas
from app.errors import InvalidBoundingBox, InvalidRequest
from app.services.face_finder import Points
from app.services.query_faces import QueryImage
from app.vision.quadrilateral import Quadrilateral

_MAX_BOXES = 128
_MAX_BOXES_OF_ALL = 256
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
    if not isinstance(box, face_schemas.FaceBox):
        return None
    points = _parsed(box.pts, field, index)
    if points is None or points in ([], {}):
        return None
    if not isinstance(points, list):
        raise InvalidBoundingBox(f"{field}.pts is no array: {_FORM}.", index=index)
    if len(points) != 4:
        raise InvalidBoundingBox(f"{field}.pts has {len(points)} points: {_FORM}.", index=index)
    corners = tuple(_corner(point, field, index) for point in points)
    try:
        Quadrilateral(corners)
        Quadrilateral([(round(x), round(y)) for x, y in corners])  # as it is kept and shown
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
    boxes = [_boxes(image) for image in data]
    for index, of_image in enumerate(boxes):
        if len(of_image) > _MAX_BOXES:
            message = f"data[{index}] has {len(of_image)} boxes: at most {_MAX_BOXES} of one image are taken."
            raise InvalidRequest(message, index=index)
    if (count := sum(map(len, boxes))) > _MAX_BOXES_OF_ALL:
        message = f"data has {count} boxes: at most {_MAX_BOXES_OF_ALL} are taken at once."
        raise InvalidRequest(message)
    return [
        QueryImage(image.uri, tuple(_points(box, index, number) for number, box in enumerate(of_image)))
        for index, (image, of_image) in enumerate(zip(data, boxes, strict=True))
    ]


def _boxes(image: face_schemas.BoxedImage) -> list[face_schemas.FaceBox]:
    attribute = image.attribute if isinstance(image.attribute, face_schemas.FaceBoxes) else None
    boxes = attribute.bounding_boxes if attribute is not None else None
    return boxes if isinstance(boxes, list) else []


def _points(box: face_schemas.FaceBox, index: int, number: int) -> Points:
    field = f"data[{index}].attribute.bounding_boxes[{number}]"
    corners = given_box(box, field=field, index=index)
    if corners is None:  # the answer could not be in the order of the boxes
        raise InvalidBoundingBox(f"{field}.pts is missing: {_FORM}.", index=index)
    return corners


def _parsed(sent: Raw | UnsetType, field: str, index: int | None) -> Any:
    if sent is UNSET:
        return None
    try:
        return msgspec.json.decode(bytes(sent))
    except (msgspec.DecodeError, RecursionError) as error:  # a number beyond all bounds, arrays without end
        raise InvalidBoundingBox(f"{field}.pts holds what is no number of pixels: {_FORM}.", index=index) from error


def _corner(point: Any, field: str, index: int | None) -> tuple[float, float]:
    if not isinstance(point, list) or len(point) != 2 or not all(_is_number(value) for value in point):
        message = f"{field}.pts must hold four pairs of numbers of pixels: {_FORM}."
        raise InvalidBoundingBox(message, index=index)
    x, y = point
    if not (-_FARTHEST <= x <= _FARTHEST and -_FARTHEST <= y <= _FARTHEST):
        message = f"{field}.pts holds a coordinate beyond {_FARTHEST} pixels: {_FORM}, inside the image."
        raise InvalidBoundingBox(message, index=index)
    return float(x), float(y)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
