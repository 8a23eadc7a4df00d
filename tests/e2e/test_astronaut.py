"""Faces in a real photo that every machine has: the astronaut, in variants."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image, ImageEnhance

from tests.photos import astronaut, skimage_photo
from tests.pictures import drawing, encoded
from tests.running_service import RunningService, data_uri, fresh_group

FACE = (165, 60, 285, 210)  # where the face lies in the photo, roughly

VARIANTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "half the size": lambda photo: photo.resize((256, 256)),
    "twice the size": lambda photo: photo.resize((1024, 1024)),
    "darker": lambda photo: ImageEnhance.Brightness(photo).enhance(0.6),
    "brighter": lambda photo: ImageEnhance.Brightness(photo).enhance(1.4),
    "grey": lambda photo: photo.convert("L"),
    "cropped": lambda photo: photo.crop((60, 0, 420, 360)),
    "tilted by 15 degrees": lambda photo: photo.rotate(15, Image.Resampling.BICUBIC),
    "mirrored": lambda photo: photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


@pytest.fixture(scope="module")
def group(service: RunningService) -> Iterator[str]:
    """A group that holds the astronaut."""
    with fresh_group(service, "face", "crew") as path:
        image = {"id": "collins", "uri": data_uri(encoded(astronaut(), "PNG")), "tag": "crew", "desc": {"flights": 4}}
        reply = service.call("POST", f"{path}/add", {"image": image})
        assert reply.status == 200, reply
        yield path


def test_adding_a_face_tells_where_it_is_and_how_sure_that_is(service: RunningService, group: str) -> None:
    image = {"id": "again", "uri": data_uri(encoded(astronaut()))}
    added = service.call("POST", f"{group}/add", {"image": image}).body
    assert set(added) == {"id", "bounding_box", "face_quality"}, "one face: no face_number"
    (left, top), (right, _), (_, bottom), (left_again, _) = added["bounding_box"]["pts"]
    assert left == left_again
    overlap = max(0, min(right, FACE[2]) - max(left, FACE[0])) * max(0, min(bottom, FACE[3]) - max(top, FACE[1]))
    assert overlap > 0.5 * (right - left) * (bottom - top)
    assert 0.5 < added["bounding_box"]["score"] <= 1
    assert service.call("POST", f"{group}/delete", {"ids": ["again"]}).body == {"deleted": ["again"]}


@pytest.mark.parametrize("name", VARIANTS)
def test_the_person_is_found_in_a_variant_of_the_photo(service: RunningService, group: str, name: str) -> None:
    uri = data_uri(encoded(VARIANTS[name](astronaut()), quality=85))
    entry = service.call("POST", f"{group}/search", {"images": [uri]}).body["search_results"][0]
    assert len(entry["faces"]) == 1
    [hit] = entry["faces"][0]["faces"]
    assert (hit["id"], hit["tag"], hit["desc"]) == ("collins", "crew", {"flights": 4})
    assert hit["score"] >= 0.45
    assert hit["bounding_box"]["pts"][0] == pytest.approx([177, 58], abs=12)


def test_the_box_of_a_searched_face_lies_in_the_image_as_a_person_sees_it(service: RunningService, group: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8  # stored turned: shown after a quarter turn counter-clockwise
    stored = astronaut().transpose(Image.Transpose.ROTATE_270)
    upright, turned = (
        service.call("POST", f"{group}/search", {"images": [uri]}).body["search_results"][0]["faces"][0]
        for uri in (data_uri(encoded(astronaut(), quality=95)), data_uri(encoded(stored, quality=95, exif=exif)))
    )
    for one, other in zip(upright["bounding_box"]["pts"], turned["bounding_box"]["pts"], strict=True):
        assert one == pytest.approx(other, abs=3)
    assert turned["faces"][0]["id"] == "collins"


def test_an_image_without_a_face_has_no_entry_in_a_search_and_is_refused_for_storing(
    service: RunningService, group: str
) -> None:
    for picture in (skimage_photo("coffee.png"), drawing(4)):
        uri = data_uri(encoded(picture))
        assert service.call("POST", f"{group}/search", {"images": [uri]}).body == {"search_results": [{"faces": []}]}
        reply = service.call("POST", f"{group}/add", {"image": {"uri": uri}})
        assert (reply.status, reply.body["code"]) == (400, "no_face")


def test_a_face_that_is_too_small_to_be_stored_is_still_searched(service: RunningService, group: str) -> None:
    # 512 pixels across to 190: the face is about 35 pixels wide.
    uri = data_uri(encoded(astronaut().resize((190, 190)), quality=95))
    reply = service.call("POST", f"{group}/add", {"image": {"uri": uri}})
    assert (reply.status, reply.body["code"]) == (400, "no_face")
    assert "50×50" in reply.body["error"]
    faces = service.call("POST", f"{group}/search", {"images": [uri]}).body["search_results"][0]["faces"]
    assert faces[0]["faces"][0]["id"] == "collins"


def test_several_faces_are_listed_largest_first_and_the_largest_is_stored(service: RunningService) -> None:
    pair = Image.new("RGB", (812, 512))
    pair.paste(astronaut(), (0, 0))
    pair.paste(astronaut().transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((300, 300)), (512, 0))
    uri = data_uri(encoded(pair, quality=95))
    with fresh_group(service, "face", "pairs") as group:
        added = service.call("POST", f"{group}/add", {"image": {"id": "pair", "uri": uri}}).body
        assert added["face_number"] == 2
        assert added["bounding_box"]["pts"][1][0] < 512, "the large one is on the left"
        found = service.call("POST", f"{group}/search", {"images": [uri, uri], "limit": 1}).body["search_results"]
        for entry in found:
            areas = [(box["pts"][2][0] - box["pts"][0][0]) * (box["pts"][2][1] - box["pts"][0][1])
                     for box in (face["bounding_box"] for face in entry["faces"])]  # fmt: skip
            assert len(areas) == 2
            assert areas == sorted(areas, reverse=True)
        listed = service.call("GET", f"{group}/images").body["images"]
        assert listed == [{"id": "pair", "tag": "default", "desc": {}, "bounding_box": added["bounding_box"]}]


def test_the_person_is_found_in_several_groups_at_once_and_by_tag(service: RunningService, group: str) -> None:
    photo = data_uri(encoded(astronaut()))
    mirrored = data_uri(encoded(astronaut().transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    with fresh_group(service, "face", "second"), fresh_group(service, "face", "third"):
        image = {"id": "mirrored", "uri": mirrored, "tag": "turned"}
        assert service.call("POST", "/v1/face/groups/second/add", {"image": image}).status == 200
        body = {"images": [photo], "groups": ["third", "second", "crew"]}
        [face] = service.call("POST", "/v1/face/groups/multi/search", body).body["search_results"][0]["faces"]
        assert [(hit["group"], hit["id"]) for hit in face["faces"]] == [("crew", "collins"), ("second", "mirrored")]
        for tag, group_of in (("turned", "second"), ("crew", "crew")):
            reply = service.call("POST", "/v1/face/groups/multi/search", {**body, "tag": tag})
            [face] = reply.body["search_results"][0]["faces"]
            assert [hit["group"] for hit in face["faces"]] == [group_of]
        for tag, found in (("turned", 0), ("crew", 1)):
            reply = service.call("POST", f"{group}/search", {"images": [photo], "tags": [tag]})
            assert len(reply.body["search_results"][0]["faces"][0]["faces"]) == found
        row = service.call("GET", "/v1/face/groups/second/images/mirrored").body
        assert [row] == service.call("GET", "/v1/face/groups/second/images").body["images"]


def test_a_new_person_is_stored_once_by_eight_requests_at_once(service: RunningService) -> None:
    photo = data_uri(encoded(astronaut()))
    with fresh_group(service, "face", "visitors") as path, fresh_group(service, "face", "empty-one"):
        with ThreadPoolExecutor(8) as pool:
            replies = list(
                pool.map(lambda _: service.call("POST", f"{path}/cluster", {"images": [photo, photo]}), range(8))
            )
        assert [reply.status for reply in replies] == [200] * 8
        [row] = service.call("GET", f"{path}/images").body["images"]
        assert (row["tag"], row["desc"]) == ("default", {})
        faces = [entry["faces"][0] for reply in replies for entry in reply.body["search_results"]]
        assert {hit["id"] for face in faces for hit in face["faces"]} == {row["id"]}
        assert [face["faces"][0]["score"] for face in faces].count(1.0) >= 1
        body = {"images": [photo], "groups": ["empty-one"], "cluster_group": "visitors"}
        reply = service.call("POST", "/v1/face/groups/multi/search", body)
        [hit] = reply.body["search_results"][0]["faces"][0]["faces"]
        assert (hit["group"], hit["id"]) == ("visitors", row["id"])
        assert service.call("GET", path).body["count"] == 1


def test_groups_are_compared_with_each_other_and_with_themselves(service: RunningService, group: str) -> None:
    same = {"id": "a/same", "uri": data_uri(encoded(astronaut(), "PNG")), "tag": "t", "desc": [1]}
    darker = {"id": "b", "uri": data_uri(encoded(ImageEnhance.Brightness(astronaut()).enhance(0.6)))}
    with fresh_group(service, "face", "others") as others:
        for image in (darker, same):
            assert service.call("POST", f"{others}/add", {"image": image}).status == 200
        rows = service.call("GET", f"{others}/images").body["images"]
        [crew] = service.call("GET", f"{group}/images").body["images"]
        found = service.call("POST", f"{group}/compare", {"target_group": "others"}).body["compare_results"]
        assert [{name: entry[name] for name in rows[0]} for entry in found] == rows
        for entry, uri in zip(found, (same["uri"], darker["uri"]), strict=True):
            reply = service.call("POST", f"{group}/search", {"images": [uri]})
            [searched] = reply.body["search_results"][0]["faces"][0]["faces"]
            assert entry["faces"] == [{**crew, "score": pytest.approx(searched["score"], abs=1e-5)}]
        own = service.call("POST", f"{others}/compare", {"target_group": "others"}).body["compare_results"]
        assert [(entry["id"], [hit["id"] for hit in entry["faces"]]) for entry in own] == [
            ("a/same", ["b"]),
            ("b", ["a/same"]),
        ]


def test_an_update_replaces_the_face(service: RunningService, group: str) -> None:
    with fresh_group(service, "face", "replaced") as path:
        photo = data_uri(encoded(astronaut()))
        service.call("POST", f"{path}/add", {"image": {"id": "x", "uri": photo, "tag": "old"}})
        small = data_uri(encoded(astronaut().resize((400, 400))))
        updated = service.call("POST", f"{path}/update", {"image": {"id": "x", "uri": small, "tag": "new"}}).body
        [row] = service.call("GET", f"{path}/images").body["images"]
        assert (row["tag"], row["bounding_box"]) == ("new", updated["bounding_box"])
        refused = service.call("POST", f"{path}/update", {"image": {"id": "x", "uri": data_uri(encoded(drawing(1)))}})
        assert (refused.status, refused.body["code"]) == (400, "no_face")
        assert service.call("GET", f"{path}/images").body["images"] == [row], "a failed update changes nothing"


def test_where_one_face_is_allowed_several_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    pair = Image.new("RGB", (1024, 512))
    pair.paste(astronaut(), (0, 0))
    pair.paste(astronaut(), (512, 0))
    folder = tmp_path_factory.mktemp("strict")
    with RunningService(folder / "data", multi_faces_mode="0") as service, fresh_group(service, "face", "one") as group:
        reply = service.call("POST", f"{group}/add", {"image": {"uri": data_uri(encoded(pair))}})
        assert (reply.status, reply.body["code"], reply.body["face_number"]) == (400, "multiple_faces", 2)
        assert service.call("GET", group).body["count"] == 0
        assert service.call("POST", f"{group}/add", {"image": {"uri": data_uri(encoded(astronaut()))}}).status == 200


@pytest.mark.parametrize(("side", "canvas"), [(2800, (4000, 3000)), (450, (2600, 1900))])
def test_a_face_is_found_where_it_lies_in_a_large_photo_whether_it_is_large_or_small_there(
    service: RunningService, group: str, side: int, canvas: tuple[int, int]
) -> None:
    photo = Image.new("RGB", canvas, (90, 90, 90))
    photo.paste(astronaut().resize((side, side), Image.Resampling.BICUBIC), (100, 50))
    uri = data_uri(encoded(photo, quality=90))
    [face] = service.call("POST", f"{group}/search", {"images": [uri]}).body["search_results"][0]["faces"]
    assert face["faces"][0]["id"] == "collins"
    assert face["faces"][0]["score"] >= 0.8
    scale = side / 512
    expected = [100 + 177 * scale, 50 + 58 * scale]
    assert face["bounding_box"]["pts"][0] == pytest.approx(expected, abs=24 * scale)
