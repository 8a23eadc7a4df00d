"""Calibrating a group over HTTP: shapes, refusals, and the command that asks for it."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.api.calibration_schemas import GroupCalibration
from tests.pictures import drawing, encoded
from tests.running_service import ROOT, RunningService, data_uri, fresh_group


@pytest.fixture(scope="module")
def drawings(service: RunningService) -> Iterator[str]:
    """Four drawings, each stored as it is and as a smaller, compressed copy; one image more has no tag."""
    with fresh_group(service, "image", "calibrated") as group:
        for seed in range(4):
            for side, quality in ((1, 90), (2, 40)):
                picture = drawing(seed).resize((320 // side, 240 // side))
                image = {
                    "id": f"drawing{seed}/{side}.jpg",
                    "tag": f"drawing {seed}",
                    "uri": data_uri(encoded(picture, quality=quality)),
                }
                assert service.call("POST", f"{group}/add", {"image": image}).status == 200
        image = {"id": "untagged.jpg", "uri": data_uri(encoded(drawing(9)))}
        assert service.call("POST", f"{group}/add", {"image": image}).status == 200
        yield group


@pytest.mark.parametrize("body", [{}, {"identity": "tag"}, {"identity": "id", "pattern": "{identity}/*"}])
def test_a_group_is_calibrated_by_tag_or_by_id(service: RunningService, drawings: str, body: dict[str, Any]) -> None:
    reply = service.call("POST", f"{drawings}/calibrate", body)
    assert reply.status == 200
    answer = msgspec.convert(reply.body, GroupCalibration)
    assert (answer.count, answer.left_out, answer.rows, answer.identities, answer.sampled) == (9, 1, 8, 4, False)
    assert (answer.same.pairs, answer.different.pairs) == (4, 24)
    assert answer.default_threshold == 0.3
    assert [each.threshold for each in answer.thresholds] == pytest.approx([step / 20 for step in range(1, 20)])
    assert [each.fmr for each in answer.wanted] == [0.01, 0.001, 0.0001]
    assert [each.reliable for each in answer.wanted] == [False] * 3
    at_default = next(each for each in answer.thresholds if each.threshold == 0.3)
    assert (at_default.tpr, at_default.true_matches) == (1.0, 4)
    assert "plot" not in reply.body


def test_scores_and_thresholds_are_those_of_a_search(service: RunningService, drawings: str) -> None:
    answer = service.call("POST", f"{drawings}/calibrate", {"fmr": [0.5]}).body
    search = {"images": [data_uri(encoded(drawing(2), quality=90))], "threshold": 0, "tag": "drawing 2"}
    hits = service.call("POST", f"{drawings}/search", search).body["search_results"][0]["results"]
    copy = next(hit["score"] for hit in hits if hit["id"] == "drawing2/2.jpg")
    assert answer["same"]["histogram"][min(39, int(copy * 40))] >= 1
    (wanted,) = answer["wanted"]
    assert wanted["found"]["false_matches"] <= 12
    assert wanted["reliable"]


def test_a_plot_is_drawn_where_it_is_asked_for(service: RunningService, drawings: str) -> None:
    plot = service.call("POST", f"{drawings}/calibrate", {"plot": True}).body["plot"]
    assert ET.fromstring(plot).tag == "{http://www.w3.org/2000/svg}svg"
    assert "Scores in the group calibrated" in plot


@pytest.mark.parametrize(
    ("body", "code", "word"),
    [
        ({"identity": "name"}, "invalid_request", "`tag` or `id`"),
        ({"identity": 1}, "invalid_request", "identity"),
        ({"identity": "id"}, "invalid_request", "pattern is missing"),
        ({"identity": "id", "pattern": ""}, "invalid_request", "pattern is missing"),
        ({"identity": "id", "pattern": "*"}, "invalid_request", "exactly once"),
        ({"identity": "id", "pattern": "{identity}*"}, "invalid_request", "side by side"),
        ({"identity": "id", "pattern": "a{identity}"}, "not_calibratable", "matches the pattern"),
        ({"identity": "id", "pattern": "{identity}"}, "not_calibratable", "second image"),
        ({"identity": "id", "pattern": "{identity}rawing*"}, "not_calibratable", "one identity"),
        ({"pattern": "{identity}"}, "invalid_request", "pattern is for ids"),
        ({"fmr": [0]}, "invalid_request", "fmr[0] must be more than 0"),
        ({"fmr": [0.1, 1]}, "invalid_request", "fmr[1] must be less than 1"),
        ({"fmr": ["0.1"]}, "invalid_request", "fmr[0]"),
        ({"fmr": 0.1}, "invalid_request", "fmr must be an array"),
        ({"fmr": [0.1] * 11}, "invalid_request", "at most 10"),
        ({"plot": "yes"}, "invalid_request", "plot"),
    ],
)
def test_what_does_not_fit_is_refused(
    service: RunningService, drawings: str, body: dict[str, Any], code: str, word: str
) -> None:
    reply = service.call("POST", f"{drawings}/calibrate", body)
    assert (reply.status, reply.body["code"]) == (400, code)
    assert word in reply.body["error"]


def test_a_group_is_needed_and_faces_in_it(service: RunningService) -> None:
    for family in ("image", "face"):
        reply = service.call("POST", f"/v1/{family}/groups/nobody/calibrate", {})
        assert (reply.status, reply.body["code"]) == (404, "group_not_found")
    reply = service.call("POST", "/v1/face/groups/multi/calibrate", {})
    assert (reply.status, reply.body["code"]) == (400, "invalid_group_name")
    with fresh_group(service, "face", "calibrated-faces") as group:
        reply = service.call("POST", f"{group}/calibrate", {})
        assert (reply.status, reply.body["code"]) == (400, "not_calibratable")
        assert reply.body["error"].startswith("The group is empty")


def test_the_command_prints_what_the_service_answers(service: RunningService, drawings: str, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    command = [sys.executable, "-m", "app", "calibrate", "calibrated", "--family", "image", "--url", service.url]
    done = subprocess.run([*command, "--plot", str(plot)], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0].endswith("8 images of 4 identities")
    assert "1 of 9 images have no identity and are left out." in done.stdout
    assert "  default\n" in done.stdout
    assert ET.fromstring(plot.read_text(encoding="utf-8")).tag == "{http://www.w3.org/2000/svg}svg"
