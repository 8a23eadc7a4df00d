"""Faces in boxes that the caller gives, on a real photo: any quadrilateral, near or far off, whichever way up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.photos import astronaut
from tests.pictures import encoded
from tests.running_service import RunningService, data_uri, fresh_group

BOX = [[180, 58], [271, 58], [271, 176], [180, 176]]  # as the detector draws it
Points = list[list[int]]


@pytest.fixture(scope="module")
def group(service: RunningService) -> Iterator[str]:
    """A group that holds the astronaut, found by the detector."""
    with fresh_group(service, "face", "boxed-crew") as path:
        image = {"id": "collins", "uri": data_uri(encoded(astronaut(), "PNG")), "tag": "crew"}
        assert service.call("POST", f"{path}/add", {"image": image}).status == 200
        yield path


def searched(service: RunningService, group: str, image: Image.Image, *boxes: Points) -> list[dict[str, Any]]:
    """The faces of a search with boxes."""
    attribute = {"bounding_boxes": [{"pts": box} for box in boxes]}
    data = [{"uri": data_uri(encoded(image, quality=92)), "attribute": attribute}]
    reply = service.call("POST", f"{group}/pts/search", {"data": data})
    assert reply.status == 200, reply
    faces: list[dict[str, Any]] = reply.body["search_results"][0]["faces"]
    return faces


def scores(faces: list[dict[str, Any]]) -> list[float]:
    """The score of the astronaut for each face, 0 where she is not found."""
    assert all(hit["id"] == "collins" for face in faces for hit in face["faces"])
    return [face["faces"][0]["score"] if face["faces"] else 0.0 for face in faces]


def moved(right: float, down: float, size: float = 1) -> Points:
    """The box shifted and scaled, in shares of its sides."""
    centre, sides = np.array([225.5, 117]), np.array([91, 118])
    corners = (np.array(BOX) - centre) * size + centre + sides * [right, down]
    return [[round(x), round(y)] for x, y in corners.tolist()]


def test_a_face_is_found_by_its_box_and_the_box_comes_back_as_it_was_sent(service: RunningService, group: str) -> None:
    [face] = searched(service, group, astronaut(), BOX)
    assert face["bounding_box"] == {"pts": BOX}, "no score: nothing was detected"
    assert face["faces"][0]["score"] > 0.9
    [turned_round] = searched(service, group, astronaut(), [BOX[0], BOX[3], BOX[2], BOX[1]])
    assert turned_round["faces"][0]["score"] > 0.9, "corners named the other way round do not mirror the face"


def test_boxes_that_are_drawn_loosely_are_set_right_by_the_landmarks(service: RunningService, group: str) -> None:
    loose = [
        moved(0.2, 0),
        moved(-0.2, 0.15),
        moved(0, -0.25),
        moved(0, 0, 1.5),
        moved(0, 0, 0.7),
        moved(0.3, 0.2, 1.3),
    ]
    assert min(scores(searched(service, group, astronaut(), *loose))) > 0.75


def test_the_faces_come_in_the_order_of_the_boxes_also_of_those_without_a_face(
    service: RunningService, group: str
) -> None:
    nothing = [[10, 300], [90, 300], [90, 400], [10, 400]]
    partly_outside = [[-40, -30], [60, -30], [60, 70], [-40, 70]]
    faces = searched(service, group, astronaut(), nothing, BOX, partly_outside, BOX)
    assert [face["bounding_box"]["pts"] for face in faces] == [nothing, BOX, partly_outside, BOX]
    assert [score > 0.45 for score in scores(faces)] == [False, True, False, True]


@pytest.mark.parametrize("degrees", range(0, 360, 45))
def test_a_turned_photo_is_found_by_a_box_along_the_face_and_by_one_along_the_image(
    service: RunningService, group: str, degrees: int
) -> None:
    photo = astronaut()
    turned = photo.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middles = np.array(photo.size) / 2, np.array(turned.size) / 2
    corners = (np.array(BOX) - middles[0]) @ turn.T + middles[1]
    along_face = [[round(x), round(y)] for x, y in corners.tolist()]
    (left, top), (right, bottom) = corners.min(axis=0).round().tolist(), corners.max(axis=0).round().tolist()
    along_image = [[left, top], [right, top], [right, bottom], [left, bottom]]
    assert min(scores(searched(service, group, turned, along_face, along_image))) > 0.75


def test_a_face_that_was_photographed_at_an_angle_is_rectified_by_its_box(service: RunningService, group: str) -> None:
    # The photo as a poster on a wall that runs away to the right.
    source = [(0, 0), (512, 0), (512, 512), (0, 512)]
    target = [(40, 20), (400, 110), (400, 420), (40, 560)]
    rows, values = [], []
    for (u, v), (x, y) in zip(source, target, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    back = np.linalg.solve(np.array(rows, float), np.array(values, float))
    poster = astronaut().transform((440, 600), Image.Transform.PERSPECTIVE, back.tolist(), Image.Resampling.BICUBIC)
    there = np.linalg.inv(np.append(back, 1).reshape(3, 3))
    homogeneous = np.column_stack([np.array(BOX), np.ones(4)]) @ there.T
    box = [[round(x), round(y)] for x, y in (homogeneous[:, :2] / homogeneous[:, 2:]).tolist()]
    [score] = scores(searched(service, group, poster, box))
    assert score > 0.85


def test_a_face_is_added_and_updated_by_its_box(service: RunningService, group: str) -> None:
    pair = Image.new("RGB", (812, 512))
    pair.paste(astronaut(), (300, 0))
    pair.paste(astronaut().resize((300, 300)), (0, 0))
    small = [[round(x * 300 / 512) for x in point] for point in BOX]
    uri = data_uri(encoded(pair, quality=95))
    with fresh_group(service, "face", "by-box") as path:
        body = {"image": {"id": "x", "uri": uri, "bounding_box": {"pts": small}}}
        assert service.call("POST", f"{path}/add", body).body == {"id": "x", "bounding_box": {"pts": small}}
        assert service.call("GET", f"{path}/images/x").body["bounding_box"] == {"pts": small}
        [face] = searched(service, path, astronaut(), BOX)
        assert face["faces"][0]["bounding_box"] == {"pts": small}
        assert face["faces"][0]["score"] > 0.75
        large = [[x + 300, y] for x, y in BOX]
        body = {"image": {"id": "x", "uri": uri, "bounding_box": {"pts": large}}}
        assert set(service.call("POST", f"{path}/update", body).body) == {"id", "bounding_box"}
        assert service.call("GET", f"{path}/images/x").body["bounding_box"] == {"pts": large}


def test_given_boxes_search_several_groups_and_fill_a_cluster_group(service: RunningService, group: str) -> None:
    uri = data_uri(encoded(astronaut()))
    boxed = {"uri": uri, "attribute": {"bounding_boxes": [{"pts": BOX}]}}
    path = "/v1/face/groups/multi/pts/search"
    with fresh_group(service, "face", "box-rest") as rest, fresh_group(service, "face", "box-empty"):
        body = {"data": [boxed, {"uri": uri}], "groups": ["box-empty", "boxed-crew"], "cluster_group": "box-rest"}
        given, detected = service.call("POST", path, body).body["search_results"]
        assert [hit["group"] for hit in given["faces"][0]["faces"]] == ["boxed-crew"]
        assert set(given["faces"][0]["bounding_box"]) == {"pts"}
        assert set(detected["faces"][0]["bounding_box"]) == {"pts", "score"}, "as in the search without boxes"
        assert service.call("GET", rest).body["count"] == 0
        twice = {"uri": uri, "attribute": {"bounding_boxes": [{"pts": BOX}] * 2}}
        reply = service.call("POST", path, {**body, "data": [twice], "groups": ["box-empty"]})
        [first], [second] = (face["faces"] for face in reply.body["search_results"][0]["faces"])
        assert (first["score"], first["group"], first["id"]) == (1.0, "box-rest", second["id"])
        [row] = service.call("GET", f"{rest}/images").body["images"]
        assert row["bounding_box"] == {"pts": BOX}
        for terms in ({"params": {"tag": "nobody"}}, {"params": {"limit": 3}, "tags": ["nobody"]}):
            reply = service.call("POST", path, {"data": [boxed], "groups": ["boxed-crew"], **terms})
            assert [face["faces"] for face in reply.body["search_results"][0]["faces"]] == [[]]
