"""Groups over HTTP, on the real service."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.pictures import drawing_uri
from tests.running_service import Reply, RunningService, fresh_group

FAMILIES = ["image", "face"]


def failed(reply: Reply, status: int, code: str) -> None:
    """The reply is an error of the one shape."""
    assert (reply.status, reply.body.get("code")) == (status, code), reply
    assert set(reply.body) >= {"error", "code", "request_id"}
    assert re.fullmatch(r"[A-Z`a-z].*\.", reply.body["error"]), reply.body["error"]
    assert reply.body["request_id"] == reply.headers["X-Request-ID"]
    assert not re.search(r"Traceback|/app/|site-packages|grpc|pymilvus|0x[0-9a-f]{6}", json.dumps(reply.body))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_group_is_made_listed_described_and_removed_and_its_name_used_again(
    service: RunningService, family: str
) -> None:
    base = f"/v1/{family}/groups"
    for _ in range(2):
        assert service.call("POST", f"{base}/life-1", {"config": {"capacity": 300000}}).body == {}
        assert "life-1" in service.call("GET", base).body["groups"]
        info = service.call("GET", f"{base}/life-1")
        assert info.body == {"config": {"capacity": 300000}, "tags": 0, "count": 0}
        failed(service.call("POST", f"{base}/life-1", {"config": {"capacity": 5}}), 409, "group_exists")
        assert service.call("GET", f"{base}/life-1/images").body == {"images": [], "marker": ""}
        tags = service.call("GET", f"{base}/life-1/tags")
        assert tags.body == {"config": {"capacity": 300000}, "tags": [], "marker": ""}
        assert service.call("POST", f"{base}/life-1/remove").body == {}
        failed(service.call("GET", f"{base}/life-1"), 404, "group_not_found")
    assert "life-1" not in service.call("GET", base).body["groups"]


def test_groups_are_listed_sorted_and_families_do_not_see_each_other(service: RunningService) -> None:
    with (
        fresh_group(service, "image", "zeta"),
        fresh_group(service, "image", "alpha_2"),
        fresh_group(service, "face", "alpha-2"),
    ):
        names = service.call("GET", "/v1/image/groups").body["groups"]
        assert names == sorted(names)
        assert {"zeta", "alpha_2"} <= set(names)
        assert "alpha-2" not in names


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [
        ("GET", "", None),
        ("POST", "/remove", None),
        ("POST", "/delete", {"ids": ["x"]}),
        ("GET", "/images", None),
        ("GET", "/tags", None),
        ("POST", "/add", {"image": {"uri": "data:;base64,AAAA"}}),
        ("POST", "/update", {"image": {"id": "x", "uri": "data:;base64,AAAA"}}),
        ("POST", "/search", {"images": ["data:;base64,AAAA"]}),
    ],
)
def test_a_group_that_is_not_there_is_a_404_before_any_image_is_looked_at(
    service: RunningService, family: str, method: str, rest: str, body: object
) -> None:
    failed(service.call(method, f"/v1/{family}/groups/nobody{rest}", body), 404, "group_not_found")


@pytest.mark.parametrize("name", ["ab", "Abc", "a%20b", "%C3%A4bc", "a" * 33, "a.b", "a%22b"])
def test_a_name_that_breaks_the_rule_is_refused(service: RunningService, name: str) -> None:
    failed(service.call("POST", f"/v1/image/groups/{name}", {"config": {"capacity": 1}}), 400, "invalid_group_name")


def test_the_name_multi_is_reserved_for_faces(service: RunningService) -> None:
    failed(service.call("POST", "/v1/face/groups/multi", {"config": {"capacity": 1}}), 400, "invalid_group_name")
    with fresh_group(service, "image", "multi"):
        pass


@pytest.mark.parametrize(
    "body",
    [{}, {"config": {}}, {"config": []}, {"config": {"capacity": 0}}, {"config": {"capacity": "5"}}, [], "x", None],
)
def test_a_group_without_a_good_capacity_is_refused_and_not_made(service: RunningService, body: object) -> None:
    reply = service.call("POST", "/v1/image/groups/refused", body, raw=b"" if body is None else None)
    assert reply.status == 400
    assert reply.body["code"] in {"invalid_request", "invalid_json"}
    failed(service.call("GET", "/v1/image/groups/refused"), 404, "group_not_found")


def test_pages_walk_through_all_rows_once_in_a_stable_order(service: RunningService) -> None:
    with fresh_group(service, "image", "walk") as group:
        ids = [f"row {number} 漢\n\"'\\" for number in range(7)]
        for number, row_id in enumerate(ids):
            image = {"id": row_id, "uri": drawing_uri(number), "tag": "even" if number % 2 == 0 else "odd"}
            assert service.call("POST", f"{group}/add", {"image": image}).body == {"id": row_id}
        assert walk(service, f"{group}/images?limit=3", "images", "id") == sorted(ids)
        assert walk(service, f"{group}/images?limit=2&tag=even", "images", "id") == sorted(ids[::2])
        assert walk(service, f"{group}/tags?limit=1", "tags", "name") == ["even", "odd"]
        tags = service.call("GET", f"{group}/tags").body["tags"]
        assert tags == [{"name": "even", "count": 4}, {"name": "odd", "count": 3}]
        assert service.call("GET", f"{group}/images?tag=nobody").body == {"images": [], "marker": ""}
        deleted = service.call("POST", f"{group}/delete", {"ids": [ids[1], "unknown", ids[1], ids[3], ids[5]]})
        assert deleted.body == {"deleted": [ids[1], ids[3], ids[5]]}
        assert service.call("GET", group).body == {"config": {"capacity": 1000}, "tags": 1, "count": 4}
        assert [tag["name"] for tag in service.call("GET", f"{group}/tags").body["tags"]] == ["even"]


@pytest.mark.parametrize("ttl", [0, -1, 1.5, "60", True, 10**11])
def test_a_time_to_live_that_is_none_is_refused(service: RunningService, ttl: object) -> None:
    body = {"config": {"capacity": 9, "ttl_seconds": ttl}}
    failed(service.call("POST", "/v1/image/groups/passing", body), 400, "invalid_request")


def test_images_of_a_group_with_a_time_to_live_end(service: RunningService) -> None:
    group, image = "/v1/image/groups/passing", {"id": "a", "uri": drawing_uri(1)}
    for ttl in (None, 1):
        config = {"capacity": 9, "ttl_seconds": ttl}
        assert service.call("POST", group, {"config": config}).body == {}
        shown = {name: value for name, value in config.items() if value is not None}
        assert service.call("GET", group).body == {"config": shown, "tags": 0, "count": 0}
        assert service.call("GET", f"{group}/tags").body["config"] == shown
        assert service.call("POST", f"{group}/add", {"image": image}).body == {"id": "a"}
        if ttl is None:
            service.call("POST", f"{group}/remove")
    deadline = time.monotonic() + 30
    while service.call("GET", f"{group}/images/a").status == 200:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert service.call("GET", group).body == {"config": shown, "tags": 0, "count": 0}
    assert service.call("POST", f"{group}/search", {"images": [drawing_uri(1)]}).body["search_results"] == [
        {"results": []}
    ]
    assert service.call("POST", f"{group}/add", {"image": image}).body == {"id": "a"}
    assert service.call("POST", f"{group}/remove").body == {}


def walk(service: RunningService, path: str, items: str, key: str) -> list[str]:
    found: list[str] = []
    marker = ""
    while True:
        page = service.call("GET", f"{path}&marker={marker}").body
        found += [item[key] for item in page[items]]
        marker = page["marker"]
        if not marker:
            return found


@pytest.mark.parametrize("query", ["limit=-1", "limit=1001", "limit=x", "limit=1e2"])
def test_a_page_size_out_of_range_is_refused(service: RunningService, query: str) -> None:
    with fresh_group(service, "image", "paging") as group:
        failed(service.call("GET", f"{group}/images?{query}"), 400, "invalid_request")
        failed(service.call("GET", f"{group}/tags?{query}"), 400, "invalid_request")


@pytest.mark.parametrize("marker", ["x", "AAAAAAAA", "%00", "a b", "eyJjIjowfQ", "....", "A" * 5000])
def test_a_garbled_marker_is_refused(service: RunningService, marker: str) -> None:
    with fresh_group(service, "image", "paging") as group:
        path = f"{group}/images?marker={marker}".replace(" ", "%20")
        failed(service.call("GET", path), 400, "invalid_marker")
        failed(service.call("GET", f"{group}/tags?marker={marker}".replace(" ", "%20")), 400, "invalid_marker")


@pytest.mark.parametrize(
    ("ids", "code"),
    [([], "invalid_request"), ("x", "invalid_request"), ([1], "invalid_request"), (["x"] * 10_001, "invalid_request")],
)
def test_a_deletion_of_what_is_no_list_of_ids_is_refused(service: RunningService, ids: object, code: str) -> None:
    with fresh_group(service, "image", "deleting") as group:
        failed(service.call("POST", f"{group}/delete", {"ids": ids}), 400, code)


def test_ids_that_no_image_can_have_are_left_out_of_a_deletion(service: RunningService) -> None:
    with fresh_group(service, "image", "deleting") as group:
        service.call("POST", f"{group}/add", {"image": {"id": "x", "uri": drawing_uri(1)}})
        reply = service.call("POST", f"{group}/delete", {"ids": ["a\x00", "", "y" * 5000, "x"]})
        assert (reply.status, reply.body) == (200, {"deleted": ["x"]})


def test_unknown_paths_and_wrong_methods_have_the_one_shape(service: RunningService) -> None:
    failed(service.call("GET", "/nowhere"), 404, "not_found")
    failed(service.call("GET", "/v2/image/groups"), 404, "not_found")
    reply = service.call("DELETE", "/v1/image/groups/abc")
    failed(reply, 405, "method_not_allowed")
    assert set(reply.headers["Allow"].split(", ")) == {"GET", "POST"}


def test_a_request_keeps_a_sane_id_of_the_client_and_gets_one_where_it_has_none(service: RunningService) -> None:
    sane = service.call("GET", "/nowhere", headers={"X-Request-ID": "order-66.a"})
    assert sane.body["request_id"] == sane.headers["X-Request-ID"] == "order-66.a"
    odd = service.call("GET", "/nowhere", headers={"X-Request-ID": "x" * 65})
    assert re.fullmatch(r"[0-9a-f]{16}", odd.body["request_id"])
    assert service.call("GET", "/v1/image/groups").headers["X-Request-ID"]
