"""Kills of the whole stack, and of its database alone, in the middle of writes over HTTP; many more: loadtest/."""

from __future__ import annotations

from pathlib import Path

from loadtest.crash_rounds import CrashRounds


def test_nothing_acknowledged_is_lost_undone_or_half_made_by_kills_among_writes(tmp_path: Path) -> None:
    rounds = CrashRounds(tmp_path / "data", seed=3)
    for victim in ("both", "milvus"):
        report = rounds.round(victim, writes=40)
        assert report.faults == []
        assert report.acknowledged.total() >= 40
        assert report.unanswered > 0, "the kill came while nothing was under way"
