"""Quality and orientation on a real photo: reported, refused where the client wants, filtered in searches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PIL import Image, ImageDraw, ImageFilter

from tests.photos import astronaut
from tests.pictures import encoded
from tests.running_service import RunningService, data_uri, fresh_group

BOX = [[180, 58], [271, 58], [271, 176], [180, 176]]
COUNTER_CLOCKWISE = ["up", "up_left", "left", "down_left", "down", "down_right", "right", "up_right"]


def masked(photo: Image.Image) -> Image.Image:
    photo = photo.copy()
    ImageDraw.Draw(photo).polygon(
        [(184, 122), (226, 112), (268, 122), (262, 165), (226, 182), (192, 165)], (70, 110, 160)
    )
    return photo


BAD: dict[str, tuple[Callable[[Image.Image], Image.Image], dict[str, str], str]] = {
    "blurred": (
        lambda photo: photo.filter(ImageFilter.GaussianBlur(5)),
        {"quality": "blur", "orientation": "up"},
        "blur",
    ),
    "masked": (masked, {"quality": "cover", "orientation": "up"}, "cover"),
    "upside down": (lambda photo: photo.rotate(180), {"quality": "clear", "orientation": "down"}, "orientation"),
    "lying": (lambda photo: photo.rotate(90), {"quality": "clear", "orientation": "left"}, "orientation"),
}


@pytest.fixture(scope="module")
def group(service: RunningService) -> Iterator[str]:
    with fresh_group(service, "face", "judged") as path:
        image = {"id": "collins", "uri": data_uri(encoded(astronaut(), "PNG"))}
        reply = service.call("POST", f"{path}/add", {"image": image, "params": {"reject_bad_face": True}})
        assert reply.body["face_quality"] == {"quality": "clear", "orientation": "up"}
        yield path


@pytest.mark.parametrize("name", BAD)
def test_a_bad_face_is_refused_where_the_client_wants_and_stored_else(
    service: RunningService, group: str, name: str
) -> None:
    change, worth, word = BAD[name]
    image = {"id": name, "uri": data_uri(encoded(change(astronaut()), quality=95))}
    refused = service.call("POST", f"{group}/add", {"image": image, "params": {"reject_bad_face": True}})
    assert (refused.status, refused.body["code"]) == (400, "bad_face")
    assert refused.body["face_quality"] == worth
    assert word in refused.body["error"]
    assert service.call("GET", f"{group}/images/{name.replace(' ', '%20')}").status == 404, "nothing was stored"
    stored = service.call("POST", f"{group}/add", {"image": image, "params": {"reject_bad_face": False}})
    assert stored.status == 200
    assert stored.body["face_quality"] == worth
    updated = service.call("POST", f"{group}/update", {"image": image, "params": {"reject_bad_face": True}})
    assert (updated.status, updated.body["code"]) == (400, "bad_face")
    service.call("POST", f"{group}/delete", {"ids": [name]})


def test_faces_in_given_boxes_are_refused_as_well_and_small_ones_are_small(service: RunningService, group: str) -> None:
    tiny = astronaut().resize((160, 160))
    box = [[round(value * 160 / 512) for value in point] for point in BOX]
    image = {"id": "tiny", "uri": data_uri(encoded(tiny, quality=95)), "bounding_box": {"pts": box}}
    refused = service.call("POST", f"{group}/add", {"image": image, "params": {"reject_bad_face": True}})
    assert (refused.status, refused.body["code"]) == (400, "bad_face")
    assert refused.body["face_quality"] == {"quality": "small", "orientation": "up"}
    added = service.call("POST", f"{group}/add", {"image": image})
    assert set(added.body) == {"id", "bounding_box"}
    service.call("POST", f"{group}/delete", {"ids": ["tiny"]})
    good = {"id": "good", "uri": data_uri(encoded(astronaut(), "PNG")), "bounding_box": {"pts": BOX}}
    assert service.call("POST", f"{group}/add", {"image": good, "params": {"reject_bad_face": True}}).status == 200
    service.call("POST", f"{group}/delete", {"ids": ["good"]})


def test_a_search_with_quality_passes_over_bad_faces(service: RunningService, group: str) -> None:
    both = Image.new("RGB", (1024, 512))
    both.paste(astronaut(), (0, 0))
    both.paste(astronaut().filter(ImageFilter.GaussianBlur(5)), (512, 0))
    uri = data_uri(encoded(both, quality=95))

    def lefts(path: str, body: dict[str, Any]) -> list[bool]:
        reply = service.call("POST", path, {"images": [uri], **body})
        assert reply.status == 200, reply
        return sorted(face["bounding_box"]["pts"][0][0] < 512 for face in reply.body["search_results"][0]["faces"])

    searches: list[tuple[str, dict[str, Any]]] = [
        (f"{group}/search", {}), ("/v1/face/groups/multi/search", {"groups": ["judged"]}), (f"{group}/cluster", {}),
    ]  # fmt: skip
    for path, body in searches:
        assert lefts(path, {**body, "use_quality": True}) == [True]
        assert lefts(path, {**body, "use_quality": False}) == [False, True]
    with fresh_group(service, "face", "only-good") as path:
        assert lefts(f"{path}/cluster", {"use_quality": True}) == [True]
        assert service.call("GET", path).body["count"] == 1, "the blurred face was not stored"


@pytest.mark.parametrize("turn", range(8))
def test_the_orientation_is_the_turn_of_the_photo_and_the_person_is_found_all_the_same(
    service: RunningService, group: str, turn: int
) -> None:
    turned = astronaut().rotate(45 * turn, Image.Resampling.BICUBIC, expand=True)
    uri = data_uri(encoded(turned, quality=95))
    [face] = service.call("POST", "/v1/face/detect", {"images": [uri]}).body["detect_results"][0]["faces"]
    assert face["face_quality"]["orientation"] == COUNTER_CLOCKWISE[turn]
    [found] = service.call("POST", f"{group}/search", {"images": [uri]}).body["search_results"][0]["faces"]
    assert found["bounding_box"] == face["bounding_box"]
    assert found["faces"][0]["id"] == "collins"
    assert found["faces"][0]["score"] > 0.75


def test_detect_tells_where_the_landmarks_are(service: RunningService) -> None:
    image = data_uri(encoded(astronaut(), "PNG"))
    reply = service.call("POST", "/v1/face/detect", {"images": [image, image], "params": {"timings": True}})
    one, other = (entry["faces"] for entry in reply.body["detect_results"])
    assert one == other
    [face] = one
    assert face["bounding_box"]["pts"] == BOX
    points = face["landmarks"]
    assert list(points) == ["right_eye", "left_eye", "nose", "right_mouth_corner", "left_mouth_corner"]
    expected = [(203, 101), (248, 102), (224, 125), (205, 144), (243, 145)]  # by eye
    for (x, y), seen in zip(expected, points.values(), strict=True):
        assert seen == pytest.approx([x, y], abs=4)
    assert set(reply.body["timings"]) == {"fetch", "decode", "detect", "align", "quality", "total"}


def test_two_photos_are_verified_by_their_largest_faces(service: RunningService) -> None:
    photo = data_uri(encoded(astronaut(), "PNG"))
    turned = data_uri(encoded(astronaut().rotate(90).resize((400, 400))))
    same = service.call("POST", "/v1/face/verify", {"images": [photo, turned]}).body
    assert same["same"] is True
    assert same["score"] > 0.75
    assert same["threshold"] == 0.45
    assert same["faces"][0]["bounding_box"]["pts"] == BOX
    strict = service.call("POST", "/v1/face/verify", {"images": [photo, turned], "threshold": 1}).body
    assert (strict["same"], strict["threshold"], strict["score"]) == (False, 1, same["score"])
    itself = service.call("POST", "/v1/face/verify", {"images": [photo, photo]}).body
    assert itself["score"] > 0.95
    nobody = data_uri(encoded(Image.new("RGB", (300, 300), (90, 120, 60))))
    refused = service.call("POST", "/v1/face/verify", {"images": [photo, nobody]})
    assert (refused.status, refused.body["code"], refused.body["index"]) == (400, "no_face", 1)
