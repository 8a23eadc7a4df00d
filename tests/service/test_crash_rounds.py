"""A kill of the whole stack in the middle of writes over HTTP; many more, and of its parts alone: loadtest/."""

from __future__ import annotations

from pathlib import Path

from loadtest.crash_rounds import CrashRounds


def test_nothing_acknowledged_is_lost_undone_or_half_made_by_a_kill_among_writes(tmp_path: Path) -> None:
    rounds = CrashRounds(tmp_path / "data", seed=3)
    report = rounds.round("both", writes=40)
    assert report.faults == []
    assert report.acknowledged.total() >= 40
    assert report.unanswered > 0, "the kill came while nothing was under way"
