"""A service that asks for keys and has narrow limits on connections, as its callers meet it."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from app.api.table import all_operations
from tests.pictures import drawing_uri
from tests.running_service import ROOT, Reply, RunningService

ORIGIN = "https://photos.example"
MOST_CONNECTIONS = 12


def command(service: RunningService, *arguments: str) -> list[str]:
    """Runs `likeness` with the service's data folder; the lines that it prints."""
    environment = {**os.environ, "LIKENESS_DATA_DIR": str(service.data_dir)}
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    service = RunningService(
        tmp_path_factory.mktemp("locked") / "data",
        keys="required", header_timeout="2", max_connections=str(MOST_CONNECTIONS), cors_origins=ORIGIN,
        sweep_interval="0.3",
    )  # fmt: skip
    command(service, "keys", "create", "first")
    with service:
        yield service


@pytest.fixture(scope="module")
def admin(locked: RunningService) -> dict[str, str]:
    return {"X-API-Key": command(locked, "keys", "create", "admin", "--role", "admin")[-1]}


@pytest.fixture(scope="module")
def door(locked: RunningService, admin: Mapping[str, str]) -> dict[str, str]:
    """May write to groups of faces whose names begin with door, one of which is there."""
    for group in ("face/groups/door-north", "face/groups/hidden", "image/groups/hidden"):
        assert locked.call("POST", f"/v1/{group}", {"config": {"capacity": 9}}, headers=admin).status == 200
    made = command(locked, "keys", "create", "door", "--role", "write", "--group", "face/door-*")
    return {"Authorization": f"Bearer {made[-1]}"}


def told(reply: Reply, *leave_out: str) -> str:
    """What an answer tells, without the names that the question had."""
    text = json.dumps([reply.status, {k: v for k, v in reply.body.items() if k != "request_id"}])
    for each in leave_out:
        text = text.replace(each, "…")
    return text


def test_every_operation_but_health_asks_for_a_key_before_anything_else(locked: RunningService) -> None:
    for number, operation in enumerate(all_operations()):
        path = operation.path.format(name="hidden", id="x", job="x") if "{" in operation.path else operation.path
        for headers in ({}, {"X-API-Key": "lk_0123456789_" + "x" * 43}):
            # From many addresses: wrong keys from one are soon a 429.
            connection = http.client.HTTPConnection(
                "127.0.0.1", locked.port, timeout=30, source_address=(f"127.0.1.{number + 1}", 0)
            )
            connection.request(operation.method, path, "not JSON" if operation.body else None, headers)
            answer = connection.getresponse()
            body = json.load(answer)
            if operation.role is None:
                assert answer.status == 200, operation.id
            else:
                assert (answer.status, body["code"]) == (401, "unauthorized"), operation.id
                assert (answer.headers["WWW-Authenticate"] or "").startswith('Bearer realm="likeness"')
            connection.close()
    assert locked.call("GET", "/openapi.json").status == 200


def test_a_key_sees_its_own_groups_and_cannot_tell_whether_others_are_there(
    locked: RunningService, door: Mapping[str, str]
) -> None:
    assert locked.call("GET", "/v1/face/groups", headers=door).body == {"groups": ["door-north"]}
    assert locked.call("GET", "/v1/image/groups", headers=door).body == {"groups": []}
    assert locked.call("GET", "/v1/face/groups/door-north", headers=door).body["count"] == 0
    assert locked.call("POST", "/v1/face/groups/door-north/remove", headers=door).body["code"] == "forbidden"
    for operation in all_operations():
        if "{name}" in operation.path and operation.role is not None:
            replies = [
                locked.call(operation.method, operation.path.format(name=name, id="x"),
                            operation.body_example if operation.body else None, headers=door)
                for name in ("hidden", "absent")
            ]  # fmt: skip
            assert replies[0].status == 403, operation.id
            assert told(replies[0], "hidden") == told(replies[1], "absent")
    image = [drawing_uri(1)]
    for path, body in (
        ("multi/search", {"images": image, "groups": ["door-north", "?"]}),
        ("multi/search", {"images": image, "groups": ["door-north"], "cluster_group": "?"}),
        ("multi/pts/search", {"data": [{"uri": image[0]}], "groups": ["?"]}),
        ("door-north/compare", {"target_group": "?"}),
    ):
        sent: list[Any] = [json.loads(json.dumps(body).replace("?", name)) for name in ("hidden", "absent")]
        first, second = (locked.call("POST", f"/v1/face/groups/{path}", each, headers=door) for each in sent)
        assert (first.status, first.body["code"]) == (403, "forbidden")
        assert told(first, "hidden") == told(second, "absent")


def test_a_key_stops_when_it_is_revoked_and_its_old_secret_when_it_is_rotated(locked: RunningService) -> None:
    secret = command(locked, "keys", "create", "short-lived")[-1]

    def status(key: str) -> int:
        return locked.call("GET", "/v1/jobs", headers={"Authorization": f"bearer {key}"}).status

    assert status(secret) == 200
    rotated = command(locked, "keys", "rotate", secret.split("_")[1])[-1]
    assert (status(secret), status(rotated)) == (401, 200)
    command(locked, "keys", "revoke", secret.split("_")[1])
    assert status(rotated) == 401
    line = next(line for line in command(locked, "keys", "list") if "short-lived" in line)
    assert "revoked" in line
    assert secret.split("_", 2)[2] not in line


def test_writes_refusals_and_key_changes_are_recorded_without_ids_or_descriptions(
    locked: RunningService, admin: Mapping[str, str]
) -> None:
    path = "/v1/image/groups/recorded"
    locked.call("POST", path, {"config": {"capacity": 9}}, headers=admin)
    image = {"id": "ada@example.org", "uri": drawing_uri(1), "desc": {"secret": "lovelace"}}
    assert locked.call("POST", f"{path}/add", {"image": image}, headers=admin).status == 200
    assert locked.call("POST", f"{path}/add", {"image": image}, headers=admin).status == 409
    assert locked.call("POST", f"{path}/search", {"images": [drawing_uri(1)]}, headers=admin).status == 200
    key = admin["X-API-Key"].split("_")[1]
    lines = [json.loads(line) for line in command(locked, "audit", "--group", "recorded", "--key", key)]
    assert [(line["operation"], line["status"], line["code"]) for line in lines] == [
        ("createImageGroup", 200, ""), ("addImage", 200, ""), ("addImage", 409, "id_exists")
    ]  # fmt: skip
    assert [json.loads(line)["status"] for line in command(locked, "audit", "--image", "ada@example.org")] == [200, 409]
    text = (locked.data_dir / "audit.jsonl").read_text()
    assert "keys.create" in text
    for private in ("ada@example.org", "lovelace", "base64", admin["X-API-Key"]):
        assert private not in text
        assert private not in locked.log


def audited(service: RunningService, operation: str) -> Mapping[str, Any]:
    """The line of something that happens in the background, once it has."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for line in map(json.loads, (service.data_dir / "audit.jsonl").read_text().splitlines()):
            if line["operation"] == operation:
                found: Mapping[str, Any] = line
                return found
        time.sleep(0.05)
    raise AssertionError(f"{operation} was not recorded")


def test_a_receipt_proves_a_deletion_to_whoever_knows_the_id(
    locked: RunningService, admin: Mapping[str, str], tmp_path: Path
) -> None:
    path, ids = "/v1/image/groups/receipts", ["zoe@example.org", "bob@example.org", "eve@example.org"]
    locked.call("POST", path, {"config": {"capacity": 9}}, headers=admin)
    for seed, each in enumerate(ids):
        locked.call("POST", f"{path}/add", {"image": {"id": each, "uri": drawing_uri(seed)}}, headers=admin)
    assert locked.call("POST", f"{path}/delete", {"ids": ids[2:]}, headers=admin).body == {"deleted": ids[2:]}
    wrong = locked.call("POST", f"{path}/delete?receipt=perhaps", {"ids": ids}, headers=admin)
    assert (wrong.status, wrong.body["code"]) == (400, "invalid_request")
    reply = locked.call("POST", f"{path}/delete?receipt=true", {"ids": [ids[0], "unknown"]}, headers=admin)
    receipt = reply.body["receipt"]
    assert reply.body == {"deleted": [ids[0]], "receipt": receipt}
    assert (receipt["operation"], receipt["count"], len(receipt["digests"])) == ("delete", 1, 1)
    assert receipt["key"] == admin["X-API-Key"].split("_")[1]
    assert "zoe" not in json.dumps(receipt)
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps(reply.body))
    genuine, about, line = command(locked, "audit", "--receipt", str(file), "--image", ids[0])
    assert "is genuine: deletion in the group image/receipts" in genuine
    assert about == f"The image '{ids[0]}' is among those that it names."
    assert json.loads(line)["seal"] == receipt["seal"]
    for altered, image, word in (
        (receipt, ids[1], "is not among those"),
        ({**receipt, "count": 2}, ids[0], "was not made by this installation, or it was altered"),
    ):
        file.write_text(json.dumps(altered))
        with pytest.raises(subprocess.CalledProcessError) as failed:
            command(locked, "audit", "--receipt", str(file), "--image", image)
        assert word in failed.value.stdout
    removed = locked.call("POST", f"{path}/remove?receipt=true", headers=admin).body["receipt"]
    assert (removed["operation"], removed["count"], removed["digests"]) == ("remove", 1, [])


def test_what_happens_without_a_request_is_recorded_too_and_log_lines_bear_the_key(
    locked: RunningService, admin: Mapping[str, str]
) -> None:
    path, key = "/v1/image/groups/passing", admin["X-API-Key"].split("_")[1]
    locked.call("POST", path, {"config": {"capacity": 9, "ttl_seconds": 1}}, headers=admin)
    lines = b"".join(
        json.dumps({"image": {"id": f"i{n}", "uri": uri}}).encode() + b"\n"
        for n, uri in enumerate([drawing_uri(1), drawing_uri(2), "data:;base64,AAAA"])
    )
    job = locked.call("POST", f"{path}/import", raw=lines, headers=admin).body["job"]
    ended = audited(locked, "import.ended")
    assert {name: ended[name] for name in ("key", "groups", "job", "state", "counts", "error")} == {
        "key": key, "groups": ["passing"], "job": job, "state": "done",
        "counts": {"done": 2, "failed": 1, "total": 3}, "error": "",
    }  # fmt: skip
    swept = audited(locked, "retention.sweep")
    assert (swept["family"], swept["groups"], swept["key"]) == ("image", ["passing"], "")
    assert swept["counts"]["deleted"] in (1, 2)
    with pytest.raises(subprocess.CalledProcessError) as refused:
        command(locked, "purge")
    assert "is in use by another Likeness" in refused.value.stderr
    assert re.search(rf"POST /v1/image/groups/{{name}}/import 202 .*group=passing key={key}", locked.log)


def test_a_request_may_have_a_shorter_time_limit_of_its_own(locked: RunningService, admin: Mapping[str, str]) -> None:
    body = {"images": [drawing_uri(1)] * 32}
    reply = locked.call("POST", "/v1/face/detect", body, headers={**admin, "X-Request-Timeout": "0.02"})
    assert (reply.status, reply.body["code"]) == (504, "deadline_exceeded")
    for wrong in ("soon", "0", "-1", "nan", "inf"):
        reply = locked.call("GET", "/v1/jobs", headers={**admin, "X-Request-Timeout": wrong})
        assert (reply.status, reply.body["code"]) == (400, "invalid_request")
    assert locked.call("GET", "/v1/jobs", headers={**admin, "X-Request-Timeout": "1e9"}).status == 200


def test_pages_of_other_sites_may_call_only_where_the_settings_say_so(
    locked: RunningService, service: RunningService, admin: Mapping[str, str]
) -> None:
    foreign = service.call("POST", "/v1/face/detect", {"images": []}, headers={"Origin": "https://evil.example"})
    assert (foreign.status, foreign.body["code"]) == (403, "foreign_page")
    rebound = service.call("GET", "/v1/face/groups", headers={"Host": f"evil.example:{service.port}"})
    assert (rebound.status, rebound.body["code"]) == (403, "foreign_page")
    assert service.call("POST", "/v1/face/detect", {"images": []}, headers={"Origin": service.url}).status == 400
    assert "Access-Control-Allow-Origin" not in service.call("GET", "/health/live", headers={"Origin": ORIGIN}).headers
    allowed = locked.call("POST", "/v1/face/detect", {"images": []}, headers={**admin, "Origin": ORIGIN})
    assert (allowed.status, allowed.headers["Access-Control-Allow-Origin"]) == (400, ORIGIN)
    assert allowed.headers["X-Content-Type-Options"] == "nosniff"
    assert "frame-ancestors 'none'" in allowed.headers["Content-Security-Policy"]
    assert "Server" not in allowed.headers
    with socket.create_connection(("127.0.0.1", locked.port), timeout=20) as asking:
        asking.sendall(
            f"OPTIONS /v1/face/detect HTTP/1.1\r\nHost: x\r\nOrigin: {ORIGIN}\r\n"
            "Access-Control-Request-Method: POST\r\nConnection: close\r\n\r\n".encode()
        )
        answer = b"".join(iter(lambda: asking.recv(4096), b"")).decode()
    assert answer.startswith("HTTP/1.1 204")
    assert "Authorization" in answer


def test_a_head_that_never_ends_is_given_up_and_one_connection_too_many_is_told_so(locked: RunningService) -> None:
    slow = [socket.create_connection(("127.0.0.1", locked.port), timeout=20) for _ in range(MOST_CONNECTIONS)]
    try:
        for each in slow:
            each.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n")
        with socket.create_connection(("127.0.0.1", locked.port), timeout=20) as refused:
            assert refused.recv(4096).startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
        dripping = slow[0]
        dripping.settimeout(0.3)
        answer = b""
        while not answer:  # a byte now and then does not begin the time anew
            try:
                answer = dripping.recv(4096)
            except TimeoutError:
                dripping.sendall(b"x")
        assert answer.startswith(b"HTTP/1.1 408")
        for each in slow[1:]:
            assert each.recv(4096).startswith(b"HTTP/1.1 408")
    finally:
        for each in slow:
            each.close()
    assert locked.call("GET", "/health/live").status == 200
