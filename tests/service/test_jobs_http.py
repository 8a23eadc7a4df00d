"""Imports in the background on the real service: they outlive their clients and a kill, and never crowd out requests."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.image_host import ImageHost
from tests.photos import astronaut
from tests.pictures import drawing, drawing_uri, encoded
from tests.running_service import Reply, RunningService, data_uri, fresh_group


@pytest.fixture
def host() -> Iterator[ImageHost]:
    with ImageHost(encoded(drawing(1))).running() as running:
        yield running


def body(*images: Any) -> bytes:
    return b"".join(json.dumps({"image": image}).encode() + b"\n" for image in images)


def started(service: RunningService, group: str, data: bytes) -> str:
    reply = service.call("POST", f"{group}/import", raw=data)
    assert reply.status == 202, reply
    assert set(reply.body) == {"job"}
    return f"/v1/jobs/{reply.body['job']}"


def until(service: RunningService, job: str, reached: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 60
    while True:
        report = service.call("GET", job).body
        if reached(report):
            return report
        assert time.monotonic() < deadline, report
        time.sleep(0.02)


def ended(service: RunningService, job: str) -> Any:
    return until(service, job, lambda report: report["state"] not in ("waiting", "running"))


def refused(reply: Reply, status: int, code: str) -> None:
    assert (reply.status, reply.body["code"]) == (status, code), reply


def test_images_are_added_in_the_background_and_what_fails_is_told_by_line(service: RunningService) -> None:
    good = [
        {"id": f"i{seed}", "uri": drawing_uri(seed), "tag": f"t{seed % 2}", "desc": {"n": seed}} for seed in range(6)
    ]
    wrong = [
        {"id": "there", "uri": drawing_uri(7)},
        {"id": "text", "uri": "data:;base64,AAAA"},
        {"id": "", "uri": 7},
        {"id": "x" * 5000, "uri": drawing_uri(7)},
        {"id": "ftp", "uri": "ftp://example.com/x"},
    ]
    with fresh_group(service, "image", "jobs") as group:
        assert service.call("POST", f"{group}/add", {"image": {"id": "there", "uri": drawing_uri(9)}}).status == 200
        data = body(*good) + b"\n  \n" + body(*wrong) + b"no json\n" + body({"uri": drawing_uri(8)})[:-1]
        job = started(service, group, data)
        report = ended(service, job)
        assert (report["state"], report["done"], report["failed"], report["total"]) == ("done", 7, 6, 13)
        assert (report["family"], report["group"], report["error"]) == ("image", "jobs", "")
        assert report["rate"] > 0
        errors = {error["index"]: error for error in report["errors"]}
        assert {index: error["code"] for index, error in errors.items()} == {
            6: "id_exists", 7: "undecodable_image", 8: "invalid_request", 9: "invalid_id", 10: "unsupported_uri", 11: "invalid_json",
        }  # fmt: skip
        assert [errors[index]["id"] for index in (6, 7, 8, 9)] == ["there", "text", "", ""]
        assert all(error["message"].endswith(".") for error in errors.values())
        rows = service.call("GET", f"{group}/images").body["images"]
        assert [row for row in rows if row["id"] in {each["id"] for each in good}] == [
            {"id": each["id"], "tag": each["tag"], "desc": each["desc"]} for each in good
        ]
        assert len(rows) == 8
        assert service.call("GET", "/v1/jobs").body["jobs"][0] == report
        assert service.call("POST", f"{job}/cancel").body == report, "it has ended already"


def test_faces_are_added_as_one_by_one(service: RunningService) -> None:
    photo = data_uri(encoded(astronaut()))
    box = {"pts": [[170, 50], [280, 50], [280, 200], [170, 200]]}
    with fresh_group(service, "face", "jobs") as group:
        lines = [
            {"image": {"id": "found", "uri": photo}},
            {"image": {"id": "given", "uri": photo, "bounding_box": box}},
            {
                "image": {"id": "turned", "uri": data_uri(encoded(astronaut().rotate(180)))},
                "params": {"reject_bad_face": True},
            },
            {"image": {"id": "bad box", "uri": photo, "bounding_box": {"pts": [[1, 2]]}}},
            {"image": {"id": "nobody", "uri": drawing_uri(1)}},
        ]
        report = ended(service, started(service, group, "\n".join(map(json.dumps, lines)).encode()))
        assert (report["done"], report["failed"]) == (2, 3)
        codes = {error["id"]: error["code"] for error in report["errors"]}
        assert codes.pop("turned") in ("bad_face", "no_face")
        assert codes == {"bad box": "invalid_bounding_box", "nobody": "no_face"}
        rows = {row["id"]: row["bounding_box"] for row in service.call("GET", f"{group}/images").body["images"]}
        assert rows["given"] == box
        assert set(rows["found"]) == {"pts", "score"}


def test_what_cannot_be_begun_is_refused(service: RunningService) -> None:
    one = body({"uri": drawing_uri(1)})
    refused(service.call("POST", "/v1/image/groups/nobody/import", raw=one), 404, "group_not_found")
    refused(service.call("POST", "/v1/face/groups/multi/import", raw=one), 400, "invalid_group_name")
    for path in ("/v1/jobs/nothing", "/v1/jobs/..%2F..%2Fetc"):
        refused(service.call("GET", path), 404, "job_not_found")
        refused(service.call("POST", f"{path}/cancel"), 404, "job_not_found")
    with fresh_group(service, "image", "jobs") as group:
        before = service.call("GET", "/v1/jobs").body
        for nothing in (b"", b"\n \n"):
            refused(service.call("POST", f"{group}/import", raw=nothing), 400, "invalid_request")
        connection = socket.create_connection(("127.0.0.1", service.port))
        connection.sendall(f"POST {group}/import HTTP/1.1\r\nHost: x\r\nContent-Length: 99999\r\n\r\n".encode() + one)
        connection.close()  # half an import is none
        assert service.call("GET", "/v1/jobs").body == before


def test_an_import_is_cancelled_and_those_behind_it_go_on(service: RunningService, host: ImageHost) -> None:
    with fresh_group(service, "image", "jobs") as group:
        slow = started(service, group, body(*({"id": f"s{n}", "uri": f"{host.url}/slow"} for n in range(20))))
        behind = started(service, group, body({"id": "behind", "uri": drawing_uri(1)}))
        assert host.asked.acquire(timeout=10)
        assert service.call("GET", slow).body["state"] == "running"
        assert service.call("GET", behind).body["state"] == "waiting"
        reply = service.call("POST", f"{slow}/cancel")
        assert (reply.status, reply.body["state"], reply.body["done"]) == (200, "cancelled", 0)
        assert host.left.acquire(timeout=10), "the fetch was given up too"
        assert ended(service, behind)["done"] == 1
        assert [row["id"] for row in service.call("GET", f"{group}/images").body["images"]] == ["behind"]


def test_an_import_whose_group_is_removed_fails_as_a_whole(service: RunningService, host: ImageHost) -> None:
    with fresh_group(service, "image", "jobs") as group:
        job = started(service, group, body(*({"uri": f"{host.url}/slow"} for _ in range(9))))
        assert host.asked.acquire(timeout=10)
        assert service.call("POST", f"{group}/remove").status == 200
        host.release.set()
        report = ended(service, job)
        assert (report["state"], report["done"], report["error"]) == ("failed", 0, "There is no group 'jobs'.")


def test_imports_are_bounded_in_number_and_size_and_keep_no_permit_from_requests(
    narrow: RunningService, host: ImageHost
) -> None:
    slow = body({"uri": f"{host.url}/slow"})
    with fresh_group(narrow, "image", "jobs") as group:
        refused(narrow.call("POST", f"{group}/import", raw=slow * 3000), 413, "too_large")
        jobs = [started(narrow, group, slow) for _ in range(2)]
        refused(narrow.call("POST", f"{group}/import", raw=slow), 429, "overloaded")
        assert host.asked.acquire(timeout=10)
        assert narrow.call("POST", f"{group}/add", {"image": {"id": "at once", "uri": drawing_uri(1)}}).status == 200
        host.release.set()
        assert [ended(narrow, job)["done"] for job in jobs] == [1, 1]
        third = started(narrow, group, slow)
        assert ended(narrow, third)["state"] == "done"
        refused(narrow.call("GET", jobs[0]), 404, "job_not_found")
        assert narrow.call("GET", jobs[1]).status == 200


def test_an_import_goes_on_after_a_stop_and_after_a_kill_without_a_loss_or_a_double(narrow: RunningService) -> None:
    pictures = [data_uri(encoded(drawing(seed).resize((80, 60)))) for seed in range(5)]
    images = [{"uri": pictures[seed % 5], **({"id": f"i{seed}"} if seed % 2 else {})} for seed in range(30)]
    with fresh_group(narrow, "image", "killed") as group:
        data = body(*images) + b"no json\n"
        number = data.count(b"\n")
        job = started(narrow, group, data)
        before = until(narrow, job, lambda report: report["done"] > 2)
        assert narrow.stop() == 0
        narrow.start()
        until(narrow, job, lambda report: report["done"] > before["done"] or report["state"] == "done")
        narrow.kill()
        narrow.start()
        report = ended(narrow, job)
        assert (report["state"], report["done"], report["failed"], report["total"]) == ("done", number - 1, 1, number)
        assert [error["code"] for error in report["errors"]] == ["invalid_json"]
        assert narrow.call("GET", group).body["count"] == number - 1
        assert not list((narrow.data_dir / "imports").glob("*/images.jsonl"))
        assert "Traceback" not in narrow.log
