"""What the service tells of itself: series by template, lines by request, and nothing of what is in the requests."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.http_peers import Talk, talking
from tests.image_host import ImageHost
from tests.pictures import drawing, drawing_uri, encoded
from tests.running_service import RunningService, fresh_group

GROUP = "nobodys-business"


def page(service: RunningService) -> str:
    with urllib.request.urlopen(f"{service.url}/metrics") as answer:
        assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        return str(answer.read().decode())


def value(text: str, name: str, **labels: str) -> float:
    """Of a sample; 0 where there is none yet."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and sample.labels == labels:
                return sample.value
    return 0


def told(service: RunningService, request_id: str) -> list[dict[str, Any]]:
    """The lines of a log of JSON that bear an id."""
    deadline = time.monotonic() + 10
    while True:
        lines = [json.loads(line) for line in service.log.splitlines()]
        found = [line for line in lines if line.get("request_id") == request_id]
        if any(line["logger"] == "likeness.access" for line in found) or time.monotonic() > deadline:
            return found
        time.sleep(0.02)


@pytest.fixture
def group(narrow: RunningService) -> Iterator[str]:
    with fresh_group(narrow, "image", GROUP) as path:
        yield path


def test_requests_count_by_template_stage_model_and_operation_and_leave_no_name_behind(
    narrow: RunningService, group: str
) -> None:
    before = page(narrow)
    new = {"id": "my/secret?id", "tag": "secret tag", "desc": {"secret": 1}, "uri": drawing_uri(1)}
    assert narrow.call("POST", f"{group}/add", {"image": new}).status == 200
    assert narrow.call("POST", f"{group}/search", {"images": [drawing_uri(1)]}).status == 200
    assert narrow.call("GET", f"{group}/images/my%2Fsecret%3Fid").status == 200
    assert narrow.call("GET", "/v1/nothing/secret").status == 404
    assert narrow.call("GET", group).body["count"] == 1
    after = page(narrow)

    def grown(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    path = "/v1/image/groups/{name}"
    for route, method in ((f"{path}/add", "POST"), (f"{path}/search", "POST"), (f"{path}/images/{{id}}", "GET")):
        assert grown("likeness_http_requests_total", route=route, method=method, status="200") == 1, route
        assert grown("likeness_http_request_duration_seconds_count", route=route, method=method) == 1, route
    assert grown("likeness_http_requests_total", route="unmatched", method="GET", status="404") == 1
    assert grown("likeness_http_errors_total", code="not_found") == 1
    for stage, number in (("fetch", 2), ("decode", 2), ("align", 0), ("embed", 2), ("search", 1), ("detect", 0)):
        assert grown("likeness_stage_duration_seconds_count", stage=stage) == number, stage
    assert grown("likeness_model_batch_items_sum", model="image_embedder") == 2
    assert grown("likeness_model_queue_wait_seconds_count", model="image_embedder") == 2
    assert grown("likeness_triton_requests_total", model="image_embedder", outcome="ok") == 2
    assert grown("likeness_milvus_requests_total", operation="insert", outcome="ok") == 1
    assert grown("likeness_milvus_requests_total", operation="search", outcome="ok") == 1
    assert grown("likeness_fetches_total", source="data", outcome="ok") == 2
    assert grown("likeness_fetched_bytes_total", source="data") > 1000
    assert value(after, "likeness_group_rows", family="image") >= 1
    assert value(after, "likeness_permits") == 1
    assert value(after, "likeness_permits_used") == 0
    assert "secret" not in after
    assert GROUP not in after


def test_scraping_asks_nobody(narrow: RunningService, group: str) -> None:
    def calls(text: str) -> dict[tuple[str, ...], float]:
        return {
            tuple(sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name in ("likeness_milvus_requests_total", "likeness_triton_requests_total")
        }

    first = calls(page(narrow))
    assert first
    assert [calls(page(narrow)) for _ in range(3)] == [first] * 3


def test_a_request_over_the_permits_counts_as_refused_by_them(narrow: RunningService, group: str) -> None:
    before = value(page(narrow), "likeness_http_rejected_total", reason="requests")
    with ImageHost(encoded(drawing(1))).running() as host, ThreadPoolExecutor(1) as pool:
        slow = pool.submit(narrow.call, "POST", f"{group}/add", {"image": {"uri": f"{host.url}/half"}})
        assert host.asked.acquire(timeout=10)
        assert narrow.call("POST", f"{group}/search", {"images": [drawing_uri(1)]}).status == 429
        while not value(page(narrow), "likeness_memory_held_bytes", budget="fetched_images"):
            time.sleep(0.01)  # until the answer's head has come
        during = page(narrow)
        host.release.set()
        assert slow.result().status == 200
    assert value(during, "likeness_http_rejected_total", reason="requests") == before + 1
    assert value(during, "likeness_permits_used") == 1
    assert value(during, "likeness_http_requests_in_flight") == 2, "that one, and the page itself"
    assert value(during, "likeness_memory_held_bytes", budget="fetched_images") > 0
    assert value(page(narrow), "likeness_memory_held_bytes", budget="fetched_images") == 0


def test_all_lines_of_a_request_are_found_by_its_id(narrow: RunningService, group: str) -> None:
    headers = {"X-Request-ID": "find-me.1"}
    body = {"image": {"uri": "http://nowhere.invalid/a.jpg?token=hidden", "desc": {"hidden": 1}, "id": "hidden"}}
    assert narrow.call("POST", f"{group}/add", body, headers=headers).status == 502
    lines = told(narrow, "find-me.1")
    assert [line["logger"] for line in lines] == ["likeness.api", "likeness.access"]
    access = lines[1]
    assert (access["method"], access["route"], access["status"]) == ("POST", "/v1/image/groups/{name}/add", 502)
    assert access["group"] == GROUP
    assert access["milliseconds"] >= access["stages"]["fetch"] > 0
    assert "nowhere.invalid" in lines[0]["message"]
    assert "hidden" not in narrow.log


def test_a_name_that_no_group_can_have_is_not_told(narrow: RunningService) -> None:
    headers = {"X-Request-ID": "find-me.3"}
    assert narrow.call("GET", "/v1/image/groups/abc%0AINFO%20forged", headers=headers).status in (400, 404)
    [line] = told(narrow, "find-me.3")
    assert line["route"] == "/v1/image/groups/{name}"
    assert "group" not in line
    assert "forged" not in narrow.log


async def test_an_answer_that_is_no_http_leaves_no_query_in_the_log(narrow: RunningService, group: str) -> None:
    async def nonsense(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/9.9 what\r\n\r\n")

    talk: Talk = nonsense
    async with talking(talk) as port:
        body = {"images": [f"http://127.0.0.1:{port}/a.jpg?token=hidden"]}
        headers = {"X-Request-ID": "find-me.2"}
        reply = await asyncio.to_thread(narrow.call, "POST", f"{group}/search", body, headers=headers)
    assert reply.status == 502
    lines = told(narrow, "find-me.2")
    assert f"127.0.0.1:{port}/a.jpg?…" in lines[0]["message"]
    assert "hidden" not in narrow.log


def test_an_import_counts_its_images_and_their_stages(narrow: RunningService, group: str) -> None:
    before = page(narrow)
    line = json.dumps({"image": {"uri": drawing_uri(2)}}).encode() + b"\n"
    reply = narrow.call("POST", f"{group}/import", raw=line)
    deadline = time.monotonic() + 30
    while narrow.call("GET", f"/v1/jobs/{reply.body['job']}").body["state"] != "done":
        assert time.monotonic() < deadline
        time.sleep(0.02)
    after = page(narrow)
    stored = [value(text, "likeness_job_images_total", outcome="ok") for text in (before, after)]
    embedded = [value(text, "likeness_stage_duration_seconds_count", stage="embed") for text in (before, after)]
    assert stored[1] - stored[0] == 1
    assert embedded[1] - embedded[0] == 1
    assert value(after, "likeness_jobs", state="done") >= 1
