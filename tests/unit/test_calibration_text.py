"""The text of a calibration: aligned, with the default threshold marked and what cannot be trusted said."""

from __future__ import annotations

import msgspec

from app.api.calibration_example import CALIBRATION
from app.api.calibration_schemas import GroupCalibration
from app.commands.calibration_text import calibration_text


def answer(**changes: object) -> GroupCalibration:
    return msgspec.convert({**CALIBRATION, **changes}, GroupCalibration)


def lines_of(made: GroupCalibration) -> list[str]:
    return calibration_text("crew", made).splitlines()


def test_the_scope_comes_first() -> None:
    lines = lines_of(answer())
    assert lines[0] == "Group crew, model dlib-resnet-v1: 80 images of 16 identities"
    assert lines[1] == "different: 2,854 pairs, median 0.010, 1 % under 0.001, 1 % over 0.156"
    assert lines[2] == "     same: 306 pairs, median 0.923, 1 % under 0.480, 1 % over 0.994"


def test_what_was_left_out_is_said() -> None:
    lines = lines_of(answer(count=20_000, left_out=5, sampled=True))
    assert lines[1:3] == [
        "A sample of the group's 20,000 images, the same every time.",
        "5 of 20,000 images have no identity and are left out.",
    ]


def test_the_histogram_has_a_bar_for_every_pair_however_rare() -> None:
    bins = [line for line in lines_of(answer()) if "–" in line and "%" not in line]
    assert len(bins) == 20
    assert bins[0].split() == ["0.00–0.05", "2,565", "█" * 16, "0"]
    assert bins[5].split() == ["0.25–0.30", "1", "██", "0"]
    assert bins[7].split() == ["0.35–0.40", "0", "0"]
    assert {len(line[:24].rstrip()) for line in bins} == {24}


def test_thresholds_are_aligned_and_the_default_one_is_marked() -> None:
    lines = lines_of(answer())
    head = next(number for number, line in enumerate(lines) if line.startswith("threshold"))
    table = lines[head + 1 : head + 20]
    assert table[8] == "     0.45            0 % (0 % – 0.13 %)    99.0 % (97.2 % – 99.7 %)  default"
    assert len({len(line.removesuffix("  default")) for line in table}) == 1
    assert sum("default" in line for line in table) == 1


def test_a_wanted_rate_that_cannot_be_shown_is_starred_and_explained() -> None:
    text = calibration_text("crew", answer())
    assert "     0.1 %   0.264839    0.070 % (0.019 % – 0.26 %)  100.0 % (98.8 % – 100.0 %)  *\n" in text
    assert "* 2,854 pairs of different identities cannot show a rate under 0.11 %" in text


def test_a_wanted_rate_that_can_be_shown_needs_no_star() -> None:
    wanted = [{**CALIBRATION["wanted"][0], "fmr": 0.01, "reliable": True}]
    assert "*" not in calibration_text("crew", answer(wanted=wanted))


def test_a_wanted_rate_that_no_threshold_keeps_is_said_so() -> None:
    wanted = [{"fmr": 0.01, "reliable": True, "found": None}]
    assert "       1 %       none  more pairs" in calibration_text("crew", answer(wanted=wanted))
