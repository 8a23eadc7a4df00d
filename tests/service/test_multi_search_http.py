"""Searching several groups of faces over HTTP: what is refused, and with which sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.pictures import drawing_uri
from tests.running_service import RunningService, fresh_group

PATH = "/v1/face/groups/multi/search"


@pytest.fixture(scope="module")
def groups(service: RunningService) -> Iterator[list[str]]:
    """Two empty groups."""
    with fresh_group(service, "face", "staff-1"), fresh_group(service, "face", "staff-2"):
        yield ["staff-1", "staff-2"]


def test_the_path_of_the_search_in_several_groups_is_not_taken_for_a_group(
    service: RunningService, groups: list[str]
) -> None:
    body = {
        "images": [drawing_uri(1), drawing_uri(2)],
        "groups": [*groups, groups[0]],
        "limit": 0,
        "tag": "",
        "cluster_group": "",
    }
    reply = service.call("POST", PATH, body)
    assert (reply.status, reply.body) == (200, {"search_results": [{"faces": []}, {"faces": []}]})


@pytest.mark.parametrize(
    ("change", "status", "code", "word"),
    [
        ({"groups": []}, 400, "invalid_request", "groups"),
        ({"groups": None}, 400, "invalid_request", "groups"),
        ({"groups": "staff-1"}, 400, "invalid_request", "groups"),
        ({"groups": ["g-1", "g-2", "g-3", "g-4", "g-5", "g-6"]}, 400, "invalid_request", "1 to 5"),
        ({"groups": ["staff-1", "multi"]}, 400, "invalid_group_name", "reserved"),
        ({"groups": ["staff-1", 7]}, 400, "invalid_request", "groups[1]"),
        ({"groups": ["staff-1", "nobody"]}, 404, "group_not_found", "nobody"),
        ({"cluster_group": "staff-1"}, 400, "invalid_request", "also in groups"),
        ({"cluster_group": "multi"}, 400, "invalid_group_name", "reserved"),
        ({"cluster_group": "nobody"}, 404, "group_not_found", "nobody"),
        ({"cluster_group": 5}, 400, "invalid_request", "cluster_group"),
        ({"images": []}, 400, "invalid_request", "images"),
        ({"threshold": True}, 400, "invalid_request", "threshold"),
        ({"threshold": 2}, 400, "invalid_request", "threshold"),
        ({"limit": 10001}, 400, "invalid_request", "limit"),
        ({"tags": ["a", ""]}, 400, "invalid_request", "tags[1]"),
    ],
)
def test_what_does_not_fit_is_refused(
    service: RunningService, groups: list[str], change: dict[str, Any], status: int, code: str, word: str
) -> None:
    reply = service.call("POST", PATH, {"images": [drawing_uri(1)], "groups": groups, **change})
    assert (reply.status, reply.body["code"]) == (status, code)
    assert word in reply.body["error"]
