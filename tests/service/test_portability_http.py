"""Taking groups out of the real service and putting them back: the same to the last bit, or nothing at all."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import http.client
import json
import socket
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from tests.photos import astronaut
from tests.pictures import drawing_uri, encoded
from tests.running_service import RunningService, data_uri, fresh_group

DESCS = [{"b": 1, "a": [1.0, "é\n"]}, 12345678901234567890, None, "text"]


def exported(service: RunningService, path: str) -> bytes:
    with urllib.request.urlopen(f"{service.url}{path}/export", timeout=60) as answer:
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        data: bytes = answer.read()
        return data


def restored(service: RunningService, path: str, data: bytes) -> Any:
    return service.call("POST", f"{path}/restore", raw=data)


def signed(*lines: bytes) -> bytes:
    data = b"".join(lines)
    return data + json.dumps({"rows": len(lines) - 1, "sha256": hashlib.sha256(data).hexdigest()}).encode()


@pytest.fixture(scope="module")
def pictures(service: RunningService) -> Iterator[str]:
    with fresh_group(service, "image", "outgoing") as path:
        for seed, desc in enumerate(DESCS):
            image = {"id": f"d/{seed}'\n", "uri": drawing_uri(seed), "tag": f"t{seed % 2}", "desc": desc}
            assert service.call("POST", f"{path}/add", {"image": image}).status == 200
        yield path


@pytest.fixture(scope="module")
def file(service: RunningService, pictures: str) -> bytes:
    return exported(service, pictures)


@contextlib.contextmanager
def named(service: RunningService, family: str, name: str) -> Iterator[str]:
    path = f"/v1/{family}/groups/{name}"
    try:
        yield path
    finally:
        service.call("POST", f"{path}/remove")


def test_a_group_that_is_restored_is_the_same_to_the_last_bit(
    service: RunningService, pictures: str, file: bytes
) -> None:
    with named(service, "image", "incoming") as path:
        reply = restored(service, path, file)
        assert (reply.status, reply.body) == (200, {"count": 4})
        again = exported(service, path)
        assert again.splitlines()[1:-1] == file.splitlines()[1:-1]
        for listing in ("", "/images", "/tags"):
            assert service.call("GET", path + listing).body == service.call("GET", pictures + listing).body
        search = {"images": [drawing_uri(2)], "threshold": 0}
        assert (
            service.call("POST", f"{path}/search", search).body
            == service.call("POST", f"{pictures}/search", search).body
        )
        image = {"id": "d/0'\n", "uri": drawing_uri(0)}
        assert service.call("POST", f"{path}/add", {"image": image}).body["code"] == "id_exists"
        assert restored(service, path, file).body["code"] == "group_exists"


def test_faces_keep_their_boxes(service: RunningService) -> None:
    with fresh_group(service, "face", "outgoing") as path, named(service, "face", "incoming") as other:
        box = {"pts": [[170, 50], [280, 50], [280, 200], [170, 200]]}
        for name, more in (("found", {}), ("given", {"bounding_box": box})):
            image = {"id": name, "uri": data_uri(encoded(astronaut())), **more}
            assert service.call("POST", f"{path}/add", {"image": image}).status == 200
        data = exported(service, path)
        assert restored(service, other, data).body == {"count": 2}
        assert service.call("GET", f"{other}/images").body == service.call("GET", f"{path}/images").body
        assert exported(service, other).splitlines()[1:-1] == data.splitlines()[1:-1]
        wrong = restored(service, "/v1/image/groups/incoming", data)
        assert (wrong.status, wrong.body["code"]) == (400, "invalid_request")
        assert "/v1/face/" in wrong.body["error"]


def test_a_file_that_is_cut_altered_or_of_another_model_leaves_nothing(service: RunningService, file: bytes) -> None:
    header, *rows, end = file.splitlines(keepends=True)
    model = json.loads(header)["model"].encode()
    wrong = [
        (b"", 400, "damaged_file"),
        (file[: len(file) // 2], 400, "damaged_file"),
        (b"".join([header, *rows]), 400, "damaged_file"),
        (b"".join([header, *rows[1:], end]), 400, "damaged_file"),
        (file.replace(b"t1", b"t2", 1), 400, "damaged_file"),
        (signed(header, *rows, rows[0]), 400, "damaged_file"),
        (signed(header, rows[0].replace(b'"desc":{', b'"desc":"}'), *rows[1:]), 400, "damaged_file"),
        (signed(header.replace(model, b"another-model"), *rows), 409, "model_mismatch"),
        (signed(header.replace(b'"version":1', b'"version":9'), *rows), 400, "invalid_request"),
    ]
    for data, status, code in wrong:
        reply = restored(service, "/v1/image/groups/incoming", data)
        assert (reply.status, reply.body["code"]) == (status, code), reply
        assert reply.body["error"].endswith(".")
        assert service.call("GET", "/v1/image/groups/incoming").status == 404
    assert "another-model" in restored(service, "/v1/image/groups/incoming", wrong[-2][0]).body["error"]
    with named(service, "image", "incoming") as path:
        assert restored(service, path, file).status == 200, "the name is free all the while"


def test_names_and_groups_are_checked(service: RunningService, file: bytes) -> None:
    reply = service.call("GET", "/v1/image/groups/nobody/export")
    assert (reply.status, reply.body["code"]) == (404, "group_not_found")
    for path in ("/v1/image/groups/No", "/v1/face/groups/multi"):
        assert restored(service, path, file).body["code"] == "invalid_group_name"
        assert service.call("GET", f"{path}/export").body["code"] == "invalid_group_name"


def test_a_client_that_hangs_up_while_it_restores_leaves_nothing(service: RunningService, file: bytes) -> None:
    for _ in range(6):  # more than may be at work together
        connection = socket.create_connection(("127.0.0.1", service.port))
        head = f"POST /v1/image/groups/incoming/restore HTTP/1.1\r\nHost: x\r\nContent-Length: {len(file)}\r\n\r\n"
        connection.sendall(head.encode() + file[:-100])
        time.sleep(0.1)
        connection.close()
    deadline = time.monotonic() + 30
    with named(service, "image", "incoming") as path:
        while (reply := restored(service, path, file)).status != 200 and time.monotonic() < deadline:
            assert reply.body["code"] in ("group_exists", "overloaded"), reply
            time.sleep(0.05)
        assert reply.status == 200


def test_a_file_over_the_limit_is_refused_and_one_over_that_of_other_bodies_is_not(
    narrow: RunningService, file: bytes
) -> None:
    header, *rows, _ = file.splitlines(keepends=True)
    rows = [row.replace(b'"id":"d/', b'"id":"%d/' % copy) for copy in range(8) for row in rows]
    whole = signed(header, *rows[:16])
    assert 30_000 < len(whole) < 60_000 < len(signed(header, *rows))
    with named(narrow, "image", "incoming") as path:
        assert restored(narrow, path, whole).body == {"count": 16}
    body = signed(header, *rows)
    for sized in (True, False):
        connection = http.client.HTTPConnection("127.0.0.1", narrow.port, timeout=10)
        connection.request(
            "POST", "/v1/image/groups/incoming/restore",
            body=body if sized else iter([body[:40_000], body[40_000:]]), encode_chunked=not sized,
            headers={} if sized else {"Transfer-Encoding": "chunked"},
        )  # fmt: skip
        with connection.getresponse() as response:
            assert (response.status, json.load(response)["code"]) == (413, "too_large")
        connection.close()
    assert "incoming" not in narrow.call("GET", "/v1/image/groups").body["groups"]


def test_transfers_beyond_the_permits_are_a_429(narrow: RunningService, file: bytes) -> None:
    with contextlib.closing(socket.create_connection(("127.0.0.1", narrow.port))) as connection:
        head = f"POST /v1/image/groups/incoming/restore HTTP/1.1\r\nHost: x\r\nContent-Length: {len(file)}\r\n\r\n"
        connection.sendall(head.encode() + file[:-100])
        deadline = time.monotonic() + 30
        while (reply := restored(narrow, "/v1/image/groups/other", b"x" * 100)).status != 429:
            reply = narrow.call("GET", "/v1/image/groups/nobody/export")
            if reply.status == 429:
                break
            assert time.monotonic() < deadline, reply
            time.sleep(0.02)
        assert (reply.body["code"], reply.headers["Retry-After"]) == ("overloaded", "1")


def test_all_that_is_held_under_an_id_or_a_tag_comes_out_of_all_groups(
    service: RunningService, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with fresh_group(service, "image", "held-1") as one, fresh_group(service, "face", "held-2") as two:
        for path, images in (
            (one, [("ada", "staff", drawing_uri(1)), ("bob", "ada", drawing_uri(2)), ("eve", "t", drawing_uri(3))]),
            (two, [("ada", "x", data_uri(encoded(astronaut())))]),
        ):
            for name, tag, uri in images:
                image = {"id": name, "uri": uri, "tag": tag, "desc": {"of": name}}
                assert service.call("POST", f"{path}/add", {"image": image}).status == 200
        file = tmp_path / "held.jsonl"
        url = ["--url", service.url]
        assert main(["held", str(file), "--id", "ada", "--id", "no'one", "--tag", "ada", *url]) == 0
        assert "3 images in" in capsys.readouterr().out
        assert file.stat().st_mode & 0o777 == 0o600
        header, *rows, end = map(json.loads, file.read_bytes().splitlines())
        assert (header["format"], header["ids"], header["tags"]) == ("likeness-held", ["ada", "no'one"], ["ada"])
        assert end["rows"] == 3
        assert [(row["family"], row["group"], row["id"], row["tag"]) for row in rows] == [
            ("image", "held-1", "ada", "staff"), ("image", "held-1", "bob", "ada"), ("face", "held-2", "ada", "x")
        ]  # fmt: skip
        exported_rows = [json.loads(line) for path in (one, two) for line in exported(service, path).splitlines()]
        for row in rows:
            assert len(base64.b64decode(row["embedding"])) == 4 * row["dimension"]
            assert row["model"]
            kept = {name: row[name] for name in row if name not in ("family", "group", "model", "dimension")}
            assert kept in exported_rows
        assert main(["held", str(file), *url]) == 1
        assert "is there already" in capsys.readouterr().err
        assert main(["held", str(file), "--force", *url]) == 1
        assert "Name at least one id or one tag" in capsys.readouterr().err
