"""Too much, too slow, gone: the service stays answerable."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.image_host import ImageHost
from tests.pictures import drawing, drawing_uri, encoded
from tests.running_service import RunningService, fresh_group


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that takes two requests at a time, for three seconds each."""
    folder: Path = tmp_path_factory.mktemp("small")
    settings = {"max_requests": "2", "request_timeout": "3", "fetch_timeout": "30", "body_memory": "1000000"}
    with RunningService(folder / "data", fetch_allow_networks="127.0.0.0/8", **settings) as service:
        yield service


@pytest.fixture
def host() -> Iterator[ImageHost]:
    with ImageHost(encoded(drawing(1))).running() as running:
        yield running


def test_an_image_is_fetched_over_http(service: RunningService, host: ImageHost) -> None:
    with fresh_group(service, "image", "fetching") as group:
        assert service.call("POST", f"{group}/add", {"image": {"id": "a", "uri": f"{host.url}/a.jpg"}}).status == 200
        found = service.call("POST", f"{group}/search", {"images": [f"{host.url}/b.jpg"]}).body
        assert [hit["id"] for hit in found["search_results"][0]["results"]] == ["a"]


def test_a_request_beyond_the_permits_is_a_429_at_once_and_listing_still_works(
    small: RunningService, host: ImageHost
) -> None:
    with fresh_group(small, "image", "permits") as group, ThreadPoolExecutor(2) as pool:
        slow = {"image": {"uri": f"{host.url}/slow"}}
        busy = [pool.submit(small.call, "POST", f"{group}/add", slow) for _ in range(2)]
        for _ in busy:
            assert host.asked.acquire(timeout=10)
        reply = small.call("POST", f"{group}/add", {"image": {"uri": drawing_uri(1)}})
        assert (reply.status, reply.body["code"], reply.headers["Retry-After"]) == (429, "overloaded", "1")
        assert small.call("GET", group).body["count"] == 0
        host.release.set()
        assert [call.result().status for call in busy] == [200, 200]
        assert small.call("POST", f"{group}/add", {"image": {"uri": drawing_uri(1)}}).status == 200


def test_a_request_over_its_time_limit_is_a_504_and_stores_nothing(small: RunningService, host: ImageHost) -> None:
    with fresh_group(small, "image", "deadline") as group:
        reply = small.call("POST", f"{group}/add", {"image": {"uri": f"{host.url}/slow"}})
        assert (reply.status, reply.body["code"]) == (504, "deadline_exceeded")
        assert host.left.acquire(timeout=5), "the fetch was given up too"
        assert small.call("GET", group).body["count"] == 0


def test_a_client_that_hangs_up_stops_the_work(service: RunningService, host: ImageHost) -> None:
    with fresh_group(service, "image", "hanging-up") as group:
        body = json.dumps({"image": {"uri": f"{host.url}/slow"}}).encode()
        connection = socket.create_connection(("127.0.0.1", service.port))
        head = f"POST {group}/add HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        connection.sendall(head + body)
        assert host.asked.acquire(timeout=10)
        connection.close()
        assert host.left.acquire(timeout=10), "the service still waits for the image"
        assert service.call("GET", group).body["count"] == 0


def test_a_client_that_hangs_up_after_a_large_body_is_noticed_too(service: RunningService, host: ImageHost) -> None:
    with fresh_group(service, "image", "hanging-up") as group:
        body = json.dumps({"more": "x" * 1_000_000, "image": {"uri": f"{host.url}/slow"}}).encode()
        connection = socket.create_connection(("127.0.0.1", service.port))
        connection.sendall(
            f"POST {group}/add HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        assert host.asked.acquire(timeout=10)
        connection.close()
        assert host.left.acquire(timeout=10), "the service still waits for the image"


def test_clients_that_only_promise_a_body_keep_nothing_from_others(small: RunningService) -> None:
    with fresh_group(small, "image", "promises") as group, contextlib.ExitStack() as idle:
        for _ in range(4):
            connection = idle.enter_context(socket.create_connection(("127.0.0.1", small.port)))
            connection.sendall(f"POST {group}/add HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n".encode())
        assert small.call("POST", f"{group}/add", {"image": {"uri": drawing_uri(1)}}).status == 200


def test_a_chunked_body_is_read_and_a_missing_one_is_told(service: RunningService) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    path = "/v1/image/groups/chunked"
    connection.request("POST", path, body=iter([b'{"config": {"cap', b'acity": 5}}']), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"{}")
    connection.request("POST", path)
    answer = connection.getresponse()
    assert (answer.status, json.load(answer)["code"]) == (400, "invalid_json")
    connection.request("POST", f"{path}/remove")
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (200, b"{}")
    connection.close()


def test_a_body_where_none_is_asked_for_is_taken_within_the_limit(service: RunningService) -> None:
    service.call("POST", "/v1/image/groups/emptied", {"config": {"capacity": 5}})
    too_large = service.call("POST", "/v1/image/groups/emptied/remove", raw=b" " * (64 * 1024 * 1024 + 1))
    assert (too_large.status, too_large.body["code"]) == (413, "too_large")
    assert service.call("POST", "/v1/image/groups/emptied/remove", {}).status == 200


def test_bodies_over_the_common_budget_are_refused_and_the_budget_comes_back(small: RunningService) -> None:
    with fresh_group(small, "image", "bodies") as group:
        for _ in range(3):
            reply = small.call("POST", f"{group}/search", raw=b'{"images":["' + b"x" * 1_100_000)
            assert (reply.status, reply.body["code"]) == (429, "overloaded")
        assert small.call("POST", f"{group}/search", {"images": [drawing_uri(1)]}).status == 200


def test_garbage_instead_of_http_is_answered_and_the_service_goes_on(service: RunningService) -> None:
    for garbage in (b"\x16\x03\x01\x00\xa5\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"A" * 70_000):
        with socket.create_connection(("127.0.0.1", service.port), timeout=5) as connection:
            connection.sendall(garbage)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass
    assert service.call("GET", "/health/ready").status == 200


def test_a_wrong_content_length_is_no_crash(service: RunningService) -> None:
    for length in ("-1", "abc", "9" * 30):
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
        connection.putrequest("POST", "/v1/image/groups/abc")
        connection.putheader("Content-Length", length)
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status in {400, 413}, length
        assert set(json.load(answer)) >= {"error", "code", "request_id"}
        connection.close()
    assert service.call("GET", "/health/ready").status == 200


def test_concurrent_clients_all_get_their_own_answers(service: RunningService) -> None:
    with fresh_group(service, "image", "crowd") as group, ThreadPoolExecutor(16) as pool:
        adds = pool.map(
            lambda seed: service.call("POST", f"{group}/add", {"image": {"id": f"d{seed}", "uri": drawing_uri(seed)}}),
            range(24),
        )
        assert [reply.status for reply in adds] == [200] * 24
        assert service.call("GET", group).body["count"] == 24
        searches = pool.map(
            lambda seed: service.call("POST", f"{group}/search", {"images": [drawing_uri(seed)], "limit": 1}), range(24)
        )
        found = [reply.body["search_results"][0]["results"][0]["id"] for reply in searches]
        assert found == [f"d{seed}" for seed in range(24)]


def test_the_same_id_added_by_many_at_once_is_stored_once(service: RunningService) -> None:
    with fresh_group(service, "image", "racing") as group, ThreadPoolExecutor(8) as pool:
        adds = pool.map(
            lambda seed: service.call("POST", f"{group}/add", {"image": {"id": "one", "uri": drawing_uri(seed)}}),
            range(8),
        )
        assert sorted(reply.status for reply in adds) == [200] + [409] * 7
        assert service.call("GET", group).body["count"] == 1
