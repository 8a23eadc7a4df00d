"""Comparing groups over HTTP: what is refused, and with which sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.running_service import RunningService, fresh_group


@pytest.fixture(scope="module")
def base(service: RunningService) -> Iterator[str]:
    """An empty group beside another one."""
    with fresh_group(service, "face", "compared-1") as path, fresh_group(service, "face", "compared-2"):
        yield path


def test_empty_groups_have_nothing_in_common(service: RunningService, base: str) -> None:
    for target in ("compared-1", "compared-2"):
        reply = service.call("POST", f"{base}/compare", {"target_group": target, "threshold": 0, "limit": 0})
        assert (reply.status, reply.body) == (200, {"compare_results": []})


@pytest.mark.parametrize(
    ("change", "status", "code", "word"),
    [
        ({"target_group": None}, 400, "invalid_request", "target_group"),
        ({"target_group": ""}, 400, "invalid_request", "target_group is missing"),
        ({"target_group": "multi"}, 400, "invalid_group_name", "reserved"),
        ({"target_group": ["compared-2"]}, 400, "invalid_request", "target_group"),
        ({"target_group": "nobody"}, 404, "group_not_found", "nobody"),
        ({"threshold": "0.4"}, 400, "invalid_request", "threshold"),
        ({"threshold": 2}, 400, "invalid_request", "threshold"),
        ({"limit": -1}, 400, "invalid_request", "limit"),
    ],
)
def test_what_does_not_fit_is_refused(
    service: RunningService, base: str, change: dict[str, Any], status: int, code: str, word: str
) -> None:
    reply = service.call("POST", f"{base}/compare", {"target_group": "compared-2", **change})
    assert (reply.status, reply.body["code"]) == (status, code)
    assert word in reply.body["error"]


def test_a_base_group_and_a_target_group_are_needed(service: RunningService, base: str) -> None:
    reply = service.call("POST", f"{base}/compare", {})
    assert (reply.status, reply.body["code"], reply.body["error"]) == (
        400,
        "invalid_request",
        "target_group is missing.",
    )
    reply = service.call("POST", "/v1/face/groups/nobody/compare", {"target_group": "compared-2"})
    assert (reply.status, reply.body["code"]) == (404, "group_not_found")
