"""The plot is an SVG of its own, the same every time, and nothing in it lies outside or breaks the XML."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from app.services.calibrate import CalibrationReport
from app.services.calibration_plot import calibration_svg
from app.services.error_rates import error_rates
from app.services.pair_scores import ScoreCounts
from tests.made_reports import counts_of, overlapping, report_of

SVG = "{http://www.w3.org/2000/svg}"
REPORTS = {
    "overlapping": overlapping(),
    "tiny": report_of([0.6], [0.1]),
    "separated": report_of([1.0] * 500, [0.0] * 100_000),
    "reversed": report_of([0.0], [1.0]),
    "alike": report_of([0.5] * 7, [0.5] * 9, default=0.0),
    "huge": report_of([0.9] * 10**6, [0.2] * 10**6, model="m" * 200, default=1.0),
}


@pytest.fixture(params=[*REPORTS, "deep"])
def report(request: pytest.FixtureRequest) -> CalibrationReport:
    return deep() if request.param == "deep" else REPORTS[request.param]


def deep() -> CalibrationReport:
    """As many pairs as are ever compared."""
    counts = np.zeros(1_000_001, np.int64)
    counts[200_000] = 50_000_000
    rates = error_rates(counts_of([0.9]), ScoreCounts(counts), wanted=(0.001,), default_threshold=0.45)
    return replace(overlapping(), rates=rates)


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def test_it_is_well_formed_and_the_same_every_time(report: CalibrationReport) -> None:
    svg = calibration_svg("crew", report)
    root = ET.fromstring(svg)
    assert (root.tag, root.get("width"), root.get("height")) == (f"{SVG}svg", "900", "360")
    assert svg == calibration_svg("crew", report)
    ground = root.find(f"{SVG}rect")
    assert ground is not None
    assert (ground.get("width"), ground.get("height"), ground.get("fill")) == ("900", "360", "#ffffff")


def test_nothing_lies_outside(report: CalibrationReport) -> None:
    root = ET.fromstring(calibration_svg("crew", report))
    assert "nan" not in ET.tostring(root, encoding="unicode")
    for element in root.iter():
        for name, most in (("x", 900), ("x1", 900), ("x2", 900), ("cx", 900), ("y", 360), ("y1", 360), ("cy", 360)):
            assert 0 <= float(element.get(name, 0)) <= most
        for point in (element.get("points") or "").split():
            x, y = map(float, point.split(","))
            assert 536 <= x <= 876
            assert 112 <= y <= 300
        for place in re.findall(r"V(-?[\d.]+)", element.get("d") or ""):
            assert 112 <= float(place) <= 300


def test_no_text_runs_into_the_next(report: CalibrationReport) -> None:
    root = ET.fromstring(calibration_svg("crew", report))
    taken: list[tuple[float, float, float]] = []
    for element in root.iter(f"{SVG}text"):
        if element.get("transform"):
            continue
        size, place = float(element.get("font-size", 0)), float(element.get("x", 0))
        width = 0.6 * size * len(element.text or "")
        left = {"end": place - width, "middle": place - width / 2}.get(element.get("text-anchor", ""), place)
        taken.append((float(element.get("y", 0)), left, left + width))
    for number, (line, left, right) in enumerate(taken):
        assert left >= 0
        assert right <= 900
        for other_line, other_left, other_right in taken[:number]:
            assert abs(line - other_line) >= 12 or right <= other_left or left >= other_right, (left, right)


def test_the_words_beside_the_axes_keep_clear_of_the_numbers(report: CalibrationReport) -> None:
    placed = list(ET.fromstring(calibration_svg("crew", report)).iter(f"{SVG}text"))
    for word in (element for element in placed if element.get("transform")):
        right = float(word.get("x", 0)) + 4
        numbers = [
            float(element.get("x", 0)) - 6.6 * len(element.text or "")
            for element in placed
            if element.get("text-anchor") == "end" and right < float(element.get("x", 0)) < right + 90
        ]
        assert min(numbers) >= right
        assert right >= 16


def test_axes_are_labelled_and_colours_are_told() -> None:
    written = texts(calibration_svg("crew", overlapping()))
    assert {"pairs", "score", "rate", "different", "same", "default 0.45", "model made"} <= set(written)
    assert {"0.0", "0.2", "0.4", "0.6", "0.8", "1.0", "1", "10", "100", "1k", "100 %", "1 %", "0"} <= set(written)
    assert written[0] == "Scores in the group crew"


def test_a_wanted_rate_is_a_full_dot_where_it_can_be_trusted_and_a_hollow_one_where_not() -> None:
    root = ET.fromstring(calibration_svg("crew", overlapping(wanted=(0.1, 0.0005))))
    assert [circle.get("fill") for circle in root.iter(f"{SVG}circle")] == ["#d55e00", "#ffffff"]
    nowhere = ET.fromstring(calibration_svg("crew", report_of([0.5], [1.0], wanted=(0.1,))))
    assert list(nowhere.iter(f"{SVG}circle")) == []


def test_names_are_text_and_never_markup() -> None:
    svg = calibration_svg("<b>&\"'", report_of([0.6], [0.1], model="a<script>&amp;"))
    assert texts(svg)[0] == "Scores in the group <b>&\"'"
    assert texts(svg)[1] == "model a<script>&amp;"
    assert "<script" not in svg
