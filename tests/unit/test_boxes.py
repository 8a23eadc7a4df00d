"""Boxes that clients give: what is taken, and what each wrong one is told."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from app.api import face_schemas, validation
from app.api.boxes import boxed_images, given_box
from app.errors import InvalidBoundingBox, InvalidJson, InvalidRequest
from app.services.query_faces import QueryImage

SQUARE = [[10, 20], [60, 20], [60, 80], [10, 80]]


def sent(pts: str) -> object:
    """The box of a body with this JSON for its points."""
    body = f'{{"image":{{"uri":"x","bounding_box":{{"pts":{pts}}}}}}}'.encode()
    return validation.parse_body(body, face_schemas.PutFace).image.bounding_box


def data(*images: dict[str, Any]) -> list[face_schemas.BoxedImage]:
    return validation.parse_body(json.dumps({"data": images}).encode(), face_schemas.SearchBoxes).data


@pytest.mark.parametrize(
    "pts",
    [json.dumps(SQUARE), "[[10.5,20],[60,20.25],[60,80],[10,8e1]]", "[[-5,-5],[60,0],[70,90],[0,80]]",
     "[[60,20],[60,80],[10,80],[10,20]]", "[[10,20],[10,80],[60,80],[60,20]]"],
)  # fmt: skip
def test_any_quadrilateral_is_taken_as_it_was_sent(pts: str) -> None:
    assert given_box(sent(pts), field="box") == tuple((x, y) for x, y in json.loads(pts))


@pytest.mark.parametrize("pts", ["[]", "null", " [ ] ", "{}"])
def test_an_empty_box_was_not_given(pts: str) -> None:
    assert given_box(sent(pts), field="box") is None


@pytest.mark.parametrize(
    ("pts", "sentence"),
    [
        ("[[10,20],[60,20],[60,80]]", "box.pts has 3 points: send four corners"),
        ("[[1,2],[3,2],[3,4],[2,4],[1,4]]", "box.pts has 5 points"),
        ('"10,20,60,80"', "box.pts is no array"),
        ('{"x":1}', "box.pts is no array"),
        ("7", "box.pts is no array"),
        ("[[10,20],[60,20],[60,80],[10,20]]", "two of its corners are one point"),
        ("[[10,20],[10,20],[10,20],[10,20]]", "two of its corners are one point"),
        ("[[10,20],[60,20],[110,20],[10,80]]", "three of its corners lie on a line"),
        ("[[10,20],[60,80],[60,20],[10,80]]", "its sides cross or turn inwards"),
        ('[["10",20],[60,20],[60,80],[10,80]]', "four pairs of numbers"),
        ("[[true,20],[60,20],[60,80],[10,80]]", "four pairs of numbers"),
        ("[[null,20],[60,20],[60,80],[10,80]]", "four pairs of numbers"),
        ("[[10],[60,20],[60,80],[10,80]]", "four pairs of numbers"),
        ("[[10,20,1],[60,20,1],[60,80,1],[10,80,1]]", "four pairs of numbers"),
        ("[10,20,60,80]", "four pairs of numbers"),
        ("[[1e7,20],[60,20],[60,80],[10,80]]", "beyond 1000000 pixels"),
        ("[[0,0],[0.001,0],[0.001,0.001],[0,0.001]]", "two of its corners are one point"),
        ("[[0,0],[9,0.2],[18,0],[9,-0.2]]", "two of its corners are one point"),
        ("[[1e999,20],[60,20],[60,80],[10,80]]", "no number of pixels"),
        ("[[1" + "0" * 400 + ",20],[60,20],[60,80],[10,80]]", "beyond"),
        ("[" * 900 + "]" * 900, "box.pts has 1 points"),
    ],
)
def test_what_is_no_box_is_told_why_and_what_to_send(pts: str, sentence: str) -> None:
    with pytest.raises(InvalidBoundingBox) as caught:
        given_box(sent(pts), field="box")
    assert sentence in caught.value.message
    assert "top left, top right, bottom right, bottom left" in caught.value.message


@pytest.mark.parametrize("pts", ["[[Infinity,20],[60,20],[60,80],[10,80]]", "[[NaN,1],[2,3],[4,5],[6,7]]"])
def test_what_json_has_no_word_for_is_no_json(pts: str) -> None:
    with pytest.raises(InvalidJson):
        sent(pts)


def test_images_come_with_their_boxes_or_without_any() -> None:
    boxes = {"bounding_boxes": [{"pts": SQUARE}, {"pts": [[0, 0], [5, 0], [5, 5], [0, 5]]}]}
    images = boxed_images(
        data({"uri": "a", "attribute": boxes}, {"uri": "b"}, {"uri": "c", "attribute": {}}, {"uri": "d", "attribute": []},
             {"uri": "e", "attribute": {"bounding_boxes": []}}, {"uri": "f", "attribute": {"bounding_boxes": {}}}),
        most=6,
    )  # fmt: skip
    first = tuple((float(x), float(y)) for x, y in SQUARE)
    assert images[0] == QueryImage("a", (first, ((0, 0), (5, 0), (5, 5), (0, 5))))
    assert images[1:] == [QueryImage(uri) for uri in "bcdef"]


@pytest.mark.parametrize(
    ("images", "index", "sentence"),
    [
        ([], None, "data has 0 entries"),
        ([{"uri": "a"}] * 4, None, "data has 4 entries"),
        ([{"uri": "a"}, {"uri": "b", "attribute": {"bounding_boxes": [{}]}}], 1, "[1].attribute.bounding_boxes[0].pts is missing"),
        ([{"uri": "a", "attribute": {"bounding_boxes": [{"pts": SQUARE}, {"pts": SQUARE[:3]}]}}], 0, "[0].attribute.bounding_boxes[1].pts has 3"),
        ([{"uri": "a", "attribute": {"bounding_boxes": [{"pts": SQUARE}] * 129}}], 0, "129 boxes: at most 128"),
        ([{"uri": "a", "attribute": {"bounding_boxes": [{"pts": SQUARE}] * 128}}] * 2 + [{"uri": "b", "attribute": {"bounding_boxes": [{"pts": SQUARE}]}}], None, "257 boxes: at most 256"),
    ],
)  # fmt: skip
def test_a_list_of_boxes_that_does_not_fit_names_the_item(
    images: list[dict[str, Any]], index: int | None, sentence: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        boxed_images(data(*images), most=3)
    assert sentence in caught.value.message
    assert caught.value.index == index


def test_tags_count_beside_the_parameters_and_in_them() -> None:
    inside = msgspec.convert({"tag": "a", "tags": ["b"]}, face_schemas.BoxParameters)
    terms = validation.terms(inside, default_threshold=0.45, tag_beside="c", tags_beside=["b", "d"])
    assert set(terms.tags) == {"a", "b", "c", "d"}
    with pytest.raises(InvalidRequest, match=r"tags\[0\] is empty"):
        validation.terms(inside, default_threshold=0.45, tags_beside=[""])
