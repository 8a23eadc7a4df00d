"""Decoding: files broken at random are pictures, damaged, or too large, and nothing else happens to the process."""

from __future__ import annotations

from pathlib import Path

from loadtest.broken_images import FORMATS, broken_file
from loadtest.fuzz_images import ImageFuzz

FILES = 400


def test_broken_files_of_every_format_do_no_harm(tmp_path: Path) -> None:
    fuzz = ImageFuzz(seed=3, kept=tmp_path)
    fuzz.run(0, FILES)
    assert fuzz.failures == []
    assert [tally.outcomes.total() for tally in fuzz.tallies.values()] == [FILES // len(FORMATS)] * len(FORMATS)
    assert all(tally.outcomes["damaged"] for tally in fuzz.tallies.values())


def test_a_number_gives_the_same_file_every_time() -> None:
    assert [broken_file(n, 1) for n in range(40)] == [broken_file(n, 1) for n in range(40)]
    assert broken_file(0, 1) != broken_file(0, 2)
