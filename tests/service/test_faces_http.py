"""Faces over HTTP: what is refused, with which sentence, and that nothing is stored then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.pictures import drawing_uri
from tests.running_service import RunningService, fresh_group

SQUARE = [[10, 20], [60, 20], [60, 80], [10, 80]]
MULTI = "/v1/face/groups/multi/pts/search"
IMAGE = drawing_uri(3)  # 320×240 pixels, no face


@pytest.fixture(scope="module")
def group(service: RunningService) -> Iterator[str]:
    with fresh_group(service, "face", "boxes-http") as path:
        yield path
        assert service.call("GET", path).body["count"] == 0, "nothing was stored by what was refused"


BAD_BOXES = {
    "three points": (SQUARE[:3], "3 points"),
    "equal points": ([[1, 1]] * 4, "one point"),
    "crossing sides": ([[10, 20], [60, 80], [60, 20], [10, 80]], "cross"),
    "outside the image": ([[400, 20], [460, 20], [460, 80], [400, 80]], "320×240"),
    "strings": ([["10", "20"], [60, 20], [60, 80], [10, 80]], "numbers"),
    "a number beyond all bounds": ([[10**30, 20], [60, 20], [60, 80], [10, 80]], "beyond"),
    "no array": ("10,20,60,80", "no array"),
    "a corner in the image and no more": ([[-500, -500], [5, -500], [5, 5], [-500, 5]], "320×240"),
    "no whole pixel": ([[5, 5], [5.01, 5], [5.01, 5.01], [5, 5.01]], "one point"),
}


@pytest.mark.parametrize("name", BAD_BOXES)
@pytest.mark.parametrize("call", ["add", "update", "pts/search", "multi"])
def test_a_box_that_is_none_is_refused_by_every_call(service: RunningService, group: str, call: str, name: str) -> None:
    pts, word = BAD_BOXES[name]
    if call in {"add", "update"}:
        image = {"id": "x", "uri": IMAGE, "bounding_box": {"pts": pts}}
        reply = service.call("POST", f"{group}/{call}", {"image": image})
        if call == "update" and name in {"outside the image", "a corner in the image and no more"}:
            assert reply.body["code"] == "image_not_found", "found out before the image is looked at"
            return
    else:
        data = [{"uri": IMAGE}, {"uri": IMAGE, "attribute": {"bounding_boxes": [{"pts": SQUARE}, {"pts": pts}]}}]
        path = MULTI if call == "multi" else f"{group}/pts/search"
        reply = service.call("POST", path, {"data": data, "groups": ["boxes-http"]})
        assert reply.body["index"] == 1
    assert (reply.status, reply.body["code"]) == (400, "invalid_bounding_box")
    assert word in reply.body["error"]


def test_an_infinite_coordinate_is_refused(service: RunningService, group: str) -> None:
    raw = f'{{"image":{{"uri":"{IMAGE}","bounding_box":{{"pts":[[1e999,0],[1,0],[1,1],[0,1]]}}}}}}'.encode()
    reply = service.call("POST", f"{group}/add", raw=raw)
    assert (reply.status, reply.body["code"]) == (400, "invalid_bounding_box")


@pytest.mark.parametrize(
    ("change", "status", "code", "word"),
    [
        ({"data": []}, 400, "invalid_request", "data has 0"),
        ({"data": None}, 400, "invalid_request", "data"),
        ({"data": [{"uri": IMAGE}] * 33}, 400, "invalid_request", "1 to 32"),
        ({"data": [{}]}, 400, "invalid_request", "data[0].uri"),
        ({"data": [{"uri": "file:///etc/passwd"}]}, 400, "unsupported_uri", "data"),
        ({"params": {"threshold": True}}, 400, "invalid_request", "params.threshold"),
        ({"params": {"threshold": "0.4"}}, 400, "invalid_request", "params.threshold"),
        ({"params": {"threshold": 2}}, 400, "invalid_request", "params.threshold"),
        ({"params": {"limit": 10001}}, 400, "invalid_request", "params.limit"),
        ({"params": {"tags": [""]}}, 400, "invalid_request", "tags[0]"),
        ({"tags": [""]}, 400, "invalid_request", "tags[0]"),
        ({"groups": []}, 400, "invalid_request", "1 to 5"),
        ({"groups": ["g-1", "g-2", "g-3", "g-4", "g-5", "g-6"]}, 400, "invalid_request", "1 to 5"),
        ({"groups": ["multi"]}, 400, "invalid_group_name", "reserved"),
        ({"groups": ["nobody"]}, 404, "group_not_found", "nobody"),
        ({"cluster_group": "boxes-http"}, 400, "invalid_request", "also in groups"),
        ({"cluster_group": "nobody"}, 404, "group_not_found", "nobody"),
    ],
)
def test_a_search_with_boxes_that_does_not_fit_is_refused(
    service: RunningService, group: str, change: dict[str, Any], status: int, code: str, word: str
) -> None:
    reply = service.call("POST", MULTI, {"data": [{"uri": IMAGE}], "groups": ["boxes-http"], **change})
    assert (reply.status, reply.body["code"]) == (status, code), reply
    assert word in reply.body["error"]


def test_a_box_whose_perspective_is_strong_is_searched_like_any_other(service: RunningService, group: str) -> None:
    boxes = [{"pts": [[0, 0], [240, 0], [160, 200], [80, 200]]}, {"pts": [[10, 10], [20, 10], [300, 220], [0, 230]]}]
    reply = service.call(
        "POST", f"{group}/pts/search", {"data": [{"uri": IMAGE, "attribute": {"bounding_boxes": boxes}}]}
    )
    assert reply.status == 200, reply
    assert [face["bounding_box"] for face in reply.body["search_results"][0]["faces"]] == boxes


@pytest.mark.parametrize("empty", [{}, [], None])
def test_what_is_empty_was_not_given(service: RunningService, group: str, empty: Any) -> None:
    data = [{"uri": IMAGE, "attribute": empty}]
    reply = service.call("POST", f"{group}/pts/search", {"data": data, "params": empty})
    assert (reply.status, reply.body) == (200, {"search_results": [{"faces": []}]})
    image = {"uri": IMAGE, "bounding_box": empty}
    reply = service.call("POST", f"{group}/add", {"image": image, "params": empty})
    assert (reply.status, reply.body["code"]) == (400, "no_face"), "the face was detected"


@pytest.mark.parametrize(
    ("path", "body", "code", "word"),
    [
        ("detect", {"images": []}, "invalid_request", "1 to 32"),
        ("detect", {}, "invalid_request", "images is missing"),
        ("detect", {"images": [IMAGE, "ftp://example.com/a.jpg"]}, "unsupported_uri", "http"),
        ("verify", {"images": [IMAGE]}, "invalid_request", "the 2 that are to be compared"),
        ("verify", {"images": [IMAGE] * 3}, "invalid_request", "images has 3"),
        ("verify", {"images": [IMAGE] * 2, "threshold": 1.5}, "invalid_request", "threshold"),
        ("verify", {"images": [IMAGE] * 2}, "no_face", "No face"),
    ],
)
def test_looking_at_faces_without_a_group_has_its_own_refusals(
    service: RunningService, path: str, body: dict[str, Any], code: str, word: str
) -> None:
    reply = service.call("POST", f"/v1/face/{path}", body)
    assert (reply.status, reply.body["code"]) == (400, code)
    assert word in reply.body["error"]


def test_the_image_to_blame_is_named(service: RunningService) -> None:
    reply = service.call("POST", "/v1/face/detect", {"images": [IMAGE, "data:image/png;base64,AAAA"]})
    assert (reply.status, reply.body["code"], reply.body["index"]) == (415, "undecodable_image", 1)


def test_timings_are_given_where_they_are_asked_for_and_nowhere_else(service: RunningService) -> None:
    with fresh_group(service, "image", "timed") as path:
        add = {"image": {"id": "a", "uri": IMAGE}}
        calls: list[tuple[str, dict[str, Any], set[str]]] = [
            (f"{path}/add", add, {"fetch", "decode", "embed"}),
            (f"{path}/update", add, {"fetch", "decode", "embed"}),
            (f"{path}/search", {"images": [IMAGE]}, {"fetch", "decode", "embed", "search"}),
            ("/v1/face/detect", {"images": [IMAGE]}, {"fetch", "decode", "detect"}),
        ]
        for where, body, stages in calls:
            timings = service.call("POST", where, {**body, "params": {"timings": True}}).body["timings"]
            assert set(timings) == stages | {"total"}, where
            assert all(0 <= value <= timings["total"] for value in timings.values())
            add["image"]["id"] = "b"
            nothing: list[Any] = [{}, [], None, {"timings": False}, {"timings": None}]
            for params in nothing:
                again = service.call("POST", where, {**body, "params": params})
                assert "timings" not in again.body
            add["image"]["id"] = "a"
    reply = service.call("POST", "/v1/face/detect", {"images": [IMAGE], "params": {"timings": 1}})
    assert (reply.status, reply.body["code"]) == (400, "invalid_request")
