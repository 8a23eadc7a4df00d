"""Adding, updating and searching images over HTTP, on the real service."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image

from tests.photos import skimage_photo
from tests.pictures import drawing, drawing_uri, encoded
from tests.running_service import Reply, RunningService, data_uri, fresh_group


@pytest.fixture(scope="module")
def group(service: RunningService) -> Iterator[str]:
    with fresh_group(service, "image", "drawings") as path:
        yield path


def search(service: RunningService, group: str, uri: str, **options: object) -> list[dict[str, object]]:
    reply = service.call("POST", f"{group}/search", {"images": [uri], **options})
    assert reply.status == 200, reply
    results: list[dict[str, object]] = reply.body["search_results"][0]["results"]
    return results


def photo_uri() -> str:
    """A photo, which is like none of the drawings."""
    return data_uri(encoded(skimage_photo("chelsea.png"), quality=90))


def add(service: RunningService, group: str, **image: object) -> Reply:
    return service.call("POST", f"{group}/add", {"image": image})


def test_an_image_is_found_again_with_its_tag_and_description_and_other_images_are_not(service: RunningService) -> None:
    with fresh_group(service, "image", "finding") as group:
        for seed in range(5):
            desc = {"b": seed, "a": [1, 2.5, None, "é"]}
            assert add(service, group, id=f"d{seed}", uri=drawing_uri(seed), tag="t", desc=desc).body == {
                "id": f"d{seed}"
            }
        smaller = data_uri(encoded(drawing(3).resize((200, 150)), quality=60))
        hit, *_ = search(service, group, smaller)
        assert (hit["id"], hit["tag"]) == ("d3", "t")
        assert json.dumps(hit["desc"]) == '{"b": 3, "a": [1, 2.5, null, "\\u00e9"]}'
        assert 0.3 <= float(str(hit["score"])) <= 1
        assert search(service, group, photo_uri()) == []


def test_the_same_picture_scores_one_and_everything_is_a_hit_at_threshold_zero(service: RunningService) -> None:
    with fresh_group(service, "image", "scores") as group:
        for seed in range(4):
            add(service, group, id=f"d{seed}", uri=drawing_uri(seed))
        hits = search(service, group, drawing_uri(2), threshold=0)
        assert len(hits) == 4
        assert (hits[0]["id"], hits[0]["score"]) == ("d2", 1.0)
        scores = [float(str(hit["score"])) for hit in hits]
        assert scores == sorted(scores, reverse=True)
        assert [hit["id"] for hit in search(service, group, drawing_uri(2), threshold=1)] == ["d2"]
        assert len(search(service, group, drawing_uri(2), threshold=0, limit=2)) == 2


def test_a_search_inside_tags_finds_only_their_images(service: RunningService) -> None:
    with fresh_group(service, "image", "tagged") as group:
        for number, tag in enumerate(["red", "blue", 'it\'s "green"', ""]):
            add(service, group, id=str(number), uri=drawing_uri(1), tag=tag)
        cases: list[tuple[dict[str, object], str]] = [
            ({}, "0123"),
            ({"tag": "", "tags": []}, "0123"),
            ({"tag": "blue"}, "1"),
            ({"tags": ["blue", 'it\'s "green"']}, "12"),
            ({"tag": "default", "tags": ["red", "none"]}, "03"),
            ({"tag": "none"}, ""),
        ]
        for wanted, ids in cases:
            assert "".join(str(hit["id"]) for hit in search(service, group, drawing_uri(1), **wanted)) == ids
        reply = service.call("POST", f"{group}/search", {"images": [drawing_uri(1)], "tags": ["red", ""]})
        assert (reply.status, reply.body["code"], reply.body["index"]) == (400, "invalid_request", 1)


def test_several_images_are_answered_in_order(service: RunningService) -> None:
    with fresh_group(service, "image", "several") as group:
        for seed in range(3):
            add(service, group, id=f"d{seed}", uri=drawing_uri(seed))
        uris = [drawing_uri(2), photo_uri(), drawing_uri(0)]
        results = service.call("POST", f"{group}/search", {"images": uris}).body["search_results"]
        assert [[hit["id"] for hit in entry["results"]][:1] for entry in results] == [["d2"], [], ["d0"]]


def test_images_that_share_calls_to_the_model_get_their_own_embeddings(service: RunningService) -> None:
    with fresh_group(service, "image", "together") as group:
        seeds = range(10)
        for seed in seeds:
            add(service, group, id=f"d{seed}", uri=drawing_uri(seed))
        # More at once than one call takes, and more than are computed together.
        body = {"images": [drawing_uri(seed) for seed in seeds], "threshold": 0, "limit": 1}
        results = service.call("POST", f"{group}/search", body).body["search_results"]
        found = [result["results"][0] for result in results]
        assert [hit["id"] for hit in found] == [f"d{seed}" for seed in seeds]
        assert min(float(hit["score"]) for hit in found) > 0.9999


def test_an_empty_id_becomes_a_random_one_and_an_empty_tag_the_default(service: RunningService) -> None:
    with fresh_group(service, "image", "random-ids") as group:
        first = add(service, group, uri=drawing_uri(1)).body["id"]
        second = add(service, group, id="", tag="", uri=drawing_uri(1)).body["id"]
        assert first != second
        assert min(len(first), len(second)) >= 22
        rows = service.call("GET", f"{group}/images").body["images"]
        assert rows == [{"id": row_id, "tag": "default", "desc": {}} for row_id in sorted([first, second])]


def test_an_id_that_is_there_is_a_409_even_before_the_image_is_looked_at(service: RunningService, group: str) -> None:
    assert add(service, group, id="taken", uri=drawing_uri(5)).status == 200
    reply = add(service, group, id="taken", uri="data:;base64,bm8gaW1hZ2U=")
    assert (reply.status, reply.body["code"]) == (409, "id_exists")


def test_an_update_replaces_the_image_its_tag_and_its_description(service: RunningService) -> None:
    with fresh_group(service, "image", "updating") as group:
        add(service, group, id="x", uri=photo_uri(), tag="old", desc=1)
        image = {"id": "x", "uri": drawing_uri(2), "tag": "new", "desc": [True]}
        assert service.call("POST", f"{group}/update", {"image": image}).body == {}
        assert search(service, group, photo_uri()) == []
        assert search(service, group, drawing_uri(2)) == [{"id": "x", "score": 1.0, "tag": "new", "desc": [True]}]
        assert service.call("GET", f"{group}/tags").body["tags"] == [{"name": "new", "count": 1}]
        reply = service.call("POST", f"{group}/update", {"image": {**image, "id": "nobody"}})
        assert (reply.status, reply.body["code"]) == (404, "image_not_found")


@pytest.mark.parametrize(
    "row_id",
    [
        "q\"uo'te",
        "a/b//c/",
        "..",
        "%2F",
        "back\\slash\\n",
        "new\nline\r\ttab",
        "漢字🙂",
        "../../etc/passwd",
        "%00%22",
        "a" * 4096,
        "中" * 1365,
        "  ",
    ],
)
def test_ids_of_any_characters_come_back_as_they_were(service: RunningService, row_id: str) -> None:
    with fresh_group(service, "image", "odd-ids") as group:
        assert add(service, group, id=row_id, uri=drawing_uri(1)).body == {"id": row_id}
        assert add(service, group, id=row_id, uri=drawing_uri(1)).status == 409
        assert [hit["id"] for hit in search(service, group, drawing_uri(1))] == [row_id]
        row = service.call("GET", f"{group}/images/{quote(row_id, safe='')}")
        assert (row.status, row.body) == (200, {"id": row_id, "tag": "default", "desc": {}})
        reply = service.call("GET", f"{group}/images/{quote('x' + row_id[1:], safe='')}")
        assert (reply.status, reply.body["code"]) == (404, "image_not_found")
        assert service.call("POST", f"{group}/delete", {"ids": ["x" + row_id[1:]]}).body == {"deleted": []}
        assert service.call("POST", f"{group}/delete", {"ids": [row_id]}).body == {"deleted": [row_id]}


@pytest.mark.parametrize(
    "desc",
    [b"12345678901234567890123", b"true", b'"text"', b"[]", b'{"z":1,"a":{"y":2,"b":3}}', b"1.0", b"-0.0", b"1e-7",
     b'{"nested":' + b"[" * 100 + b"]" * 100 + b"}"],
)  # fmt: skip
def test_a_description_comes_back_exactly_as_sent(service: RunningService, desc: bytes) -> None:
    with fresh_group(service, "image", "descs") as group:
        body = b'{"image":{"id":"x","uri":"' + drawing_uri(1).encode() + b'","desc":' + desc + b"}}"
        assert service.call("POST", f"{group}/add", raw=body).status == 200
        import urllib.request

        with urllib.request.urlopen(f"{service.url}{group}/images") as answer:
            assert answer.read() == b'{"images":[{"id":"x","tag":"default","desc":' + desc + b'}],"marker":""}'


def png_header(width: int, height: int) -> bytes:
    """A PNG file that only claims its size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


JPEG = encoded(drawing(1))
BAD_IMAGES = {
    "no image": (data_uri(b"hello, I am a text"), 415, "undecodable_image"),
    "zero bytes": (data_uri(b""), 415, "undecodable_image"),
    "a truncated JPEG": (data_uri(JPEG[: len(JPEG) // 2]), 415, "undecodable_image"),
    "a huge PNG header": (data_uri(png_header(50_000, 50_000)), 413, "too_large"),
    "an SVG": (data_uri(b'<svg xmlns="http://www.w3.org/2000/svg"/>'), 415, "undecodable_image"),
    "broken base64": ("data:image/png;base64,@@@@", 400, "unsupported_uri"),
    "no base64": ("data:text/plain,hello", 400, "unsupported_uri"),
    "a file URI": ("file:///etc/passwd", 400, "unsupported_uri"),
    "a path": ("/etc/passwd", 400, "unsupported_uri"),
    "an FTP URL": ("ftp://example.com/a.jpg", 400, "unsupported_uri"),
    "a private address": ("http://10.0.0.1/a.jpg", 400, "blocked_address"),
    "the cloud's metadata": ("http://169.254.169.254/latest/meta-data/", 400, "blocked_address"),
    "an endless host name": (f"http://{chr(0x0301) * 5000}/a.jpg", 400, "unsupported_uri"),
    "an endless URL": (f"http://127.0.0.1/{'a/../' * 5000}a.jpg", 400, "unsupported_uri"),
    "a closed port": ("http://127.0.0.1:1024/a.jpg", 502, "fetch_failed"),
    "a port of another protocol": ("http://127.0.0.1:22/a.jpg", 400, "blocked_address"),
    "too many bytes": (data_uri(b"\xff" * (20 * 1024 * 1024 + 1)), 413, "too_large"),
}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_a_bad_image_is_refused_with_a_sentence_and_nothing_is_stored(
    service: RunningService, group: str, name: str
) -> None:
    uri, status, code = BAD_IMAGES[name]
    before = service.call("GET", group).body
    reply = add(service, group, id=f"bad {name}", uri=uri)
    assert (reply.status, reply.body["code"]) == (status, code), reply
    assert reply.body["error"].endswith(".")
    assert "index" not in reply.body
    assert service.call("GET", group).body == before
    reply = service.call("POST", f"{group}/search", {"images": [drawing_uri(1), uri]})
    assert (reply.status, reply.body["code"], reply.body["index"]) == (status, code, 1)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"images": []}, "invalid_request"),
        ({"images": ["data:;base64,AA=="] * 33}, "invalid_request"),
        ({"images": "x"}, "invalid_request"),
        ({"threshold": 1.5}, "invalid_request"),
        ({"threshold": -0.1}, "invalid_request"),
        ({"threshold": True}, "invalid_request"),
        ({"threshold": "0.4"}, "invalid_request"),
        ({"limit": 10001}, "invalid_request"),
        ({"limit": -1}, "invalid_request"),
        ({"limit": 2.5}, "invalid_request"),
    ],
)
def test_a_search_that_is_out_of_range_is_refused(
    service: RunningService, group: str, change: dict[str, object], code: str
) -> None:
    reply = service.call("POST", f"{group}/search", {"images": [drawing_uri(1)], **change})
    assert (reply.status, reply.body["code"]) == (400, code)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999"])
def test_a_threshold_that_is_no_finite_number_is_refused(service: RunningService, group: str, number: bytes) -> None:
    raw = b'{"images":["data:;base64,AA=="],"threshold":' + number + b"}"
    assert service.call("POST", f"{group}/search", raw=raw).status == 400


def test_a_body_over_the_limit_is_refused(service: RunningService, group: str) -> None:
    reply = service.call("POST", f"{group}/search", raw=b" " * (64 * 1024 * 1024 + 1))
    assert (reply.status, reply.body["code"]) == (413, "too_large")
    assert service.call("GET", group).status == 200


def test_a_deeply_nested_body_is_refused(service: RunningService, group: str) -> None:
    reply = service.call("POST", f"{group}/search", raw=b'{"more":' + b"[" * 1_000_000)
    assert (reply.status, reply.body["code"]) == (400, "invalid_json")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_picture_is_found_in_every_format(service: RunningService, group: str, kind: str) -> None:
    add(service, group, id="formats", uri=drawing_uri(1))
    hits = search(service, group, data_uri(encoded(drawing(1), kind)))
    assert "formats" in [hit["id"] for hit in hits]


def test_a_photo_is_seen_as_a_person_sees_it(service: RunningService, group: str) -> None:
    add(service, group, id="upright", uri=drawing_uri(8))
    exif = Image.Exif()
    exif[0x0112] = 6  # stored turned: shown after a quarter turn clockwise
    turned = Image.fromarray(np.rot90(np.asarray(drawing(8)), 1))
    told, untold = (
        next(hit["score"] for hit in search(service, group, data_uri(photo)) if hit["id"] == "upright")
        for photo in (encoded(turned, quality=90, exif=exif), encoded(turned, quality=90))
    )
    assert float(str(told)) > 0.9 > float(str(untold)), "a turned copy is found as well, but is not the same picture"
