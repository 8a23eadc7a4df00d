"""Kills the service, Milvus, or both in the middle of writes, again and again, and counts what was lost.

python -m loadtest.crash_rounds --rounds 20
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from loadtest.comparison import Comparison
from loadtest.crash_writers import GROUPS, KINDS, Writers
from tests.running_service import ROOT, RunningService, wait_gone

VICTIMS = ("service", "milvus", "both")

_RECOVERY_TIMEOUT_S = 120


def main() -> None:
    """Reads the arguments, runs the rounds, prints the table; ends with status 1 where anything was lost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="how many kills")
    parser.add_argument("--seed", type=int, default=1, help="decides what is written and when the kill comes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        rounds = CrashRounds(Path(name) / "data", seed=arguments.seed)
        reports = []
        print(HEADER, flush=True)
        for number in range(arguments.rounds):
            reports.append(rounds.round(VICTIMS[number % len(VICTIMS)]))
            print(f"{number + 1:>5} {reports[-1].line()}", flush=True)
    total = Report.of_all(reports)
    print(f"{'all':>5} {total.line()}")
    for fault in total.faults:
        print(fault)
    sys.exit(1 if total.faults else 0)


HEADER = f"{'round':>5} {'killed':<8} " + " ".join(f"{kind:>14}" for kind in KINDS) + "  unanswered  lost  undone  half"


@dataclass(frozen=True, slots=True)
class Report:
    """What one round found.

    Attributes:
        killed: what was killed.
        acknowledged: writes that were answered 200, by kind.
        unanswered: calls whose outcome nobody was told.
        lost: acknowledged adds and updates that are not there.
        undone: acknowledged deletes and removals whose rows or groups are back.
        half: groups that are there in part, or counts that contradict the rows.
        faults: a sentence for each of these, for each wrong answer and for each finding of the doctor.
    """

    killed: str
    acknowledged: Counter[str]
    unanswered: int
    lost: int
    undone: int
    half: int
    faults: list[str]

    @classmethod
    def of_all(cls, reports: list[Report]) -> Report:
        """The sums."""
        return cls(
            killed="",
            acknowledged=sum((each.acknowledged for each in reports), Counter()),
            unanswered=sum(each.unanswered for each in reports),
            lost=sum(each.lost for each in reports),
            undone=sum(each.undone for each in reports),
            half=sum(each.half for each in reports),
            faults=[fault for each in reports for fault in each.faults],
        )

    def line(self) -> str:
        """One line of the table."""
        counts = " ".join(f"{self.acknowledged[kind]:>14,}" for kind in KINDS)
        return f"{self.killed:<8} {counts}  {self.unanswered:>10,}  {self.lost:>4}  {self.undone:>6}  {self.half:>4}"


class CrashRounds:
    """One service with its embedded engines on one data folder, through many crashes.

    Args:
        data_dir: where it keeps everything.
        seed: decides what is written and when the kill comes.
    """

    def __init__(self, data_dir: Path, *, seed: int) -> None:
        self._service = RunningService(data_dir)
        self._writers = Writers(self._service)
        self._dice = random.Random(seed)
        self._rounds = 0
        self._comparison = Comparison(self._service, self._writers)

    def round(self, victim: str, *, writes: int = 60) -> Report:
        """Starts the service, kills the victim in the middle of writes, compares, stops, asks the doctor.

        Args:
            victim: one of ``VICTIMS``.
            writes: acknowledged writes before the kill.
        """
        self._rounds += 1
        service, writers = self._service, self._writers
        before, unanswered, wrong = Counter(writers.acknowledged), writers.unanswered, len(writers.wrong)
        service.start()
        try:
            self._wait_ready()
            if self._rounds == 1:
                for group in GROUPS:
                    self._comparison.make(group)
            writers.start(seed=self._rounds)
            self._wait_for(writes)
            time.sleep(self._dice.random() * 0.3)
            self._kill(victim)
            writers.stop()
            if victim != "milvus":
                service.start()
            self._wait_ready()
            differences = self._comparison.differences(f"round {self._rounds}")
            lost, undone, half = differences.lost, differences.undone, differences.half
            service.stop()
        except BaseException:
            writers.stop()
            service.kill()
            raise
        faults = [*writers.wrong[wrong:], *lost, *undone, *half, *self._findings()]
        return Report(
            victim,
            Counter(writers.acknowledged) - before,
            writers.unanswered - unanswered,
            len(lost),
            len(undone),
            len(half),
            faults,
        )

    # --- the kill ---

    def _kill(self, victim: str) -> None:
        service = self._service
        parts = service.descendants()
        [milvus] = [pid for pid in parts if Path(f"/proc/{pid}/comm").read_text().strip() == "milvus"]
        if victim != "service":
            os.kill(milvus, signal.SIGKILL)
        if victim != "milvus":
            service.kill()
            left = wait_gone(parts, 20)
            assert not left, f"{left} outlived the service"
        else:
            self._wait_for(20)  # the writers go on, and reach the one that was started again

    def _wait_for(self, writes: int) -> None:
        wanted = self._writers.total() + writes
        deadline = time.monotonic() + _RECOVERY_TIMEOUT_S
        while self._writers.total() < wanted:
            assert time.monotonic() < deadline, f"no {writes} writes were acknowledged:\n{self._service.log[-3000:]}"
            time.sleep(0.005)

    def _wait_ready(self) -> None:
        deadline = time.monotonic() + _RECOVERY_TIMEOUT_S
        while self._service.call("GET", "/health/ready").status != 200:
            assert time.monotonic() < deadline, f"the service is not ready:\n{self._service.log[-3000:]}"
            time.sleep(0.05)

    def _findings(self) -> list[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LIKENESS_")}
        ran = subprocess.run(
            [sys.executable, "-m", "app", "doctor"],
            cwd=ROOT, env=kept | {"LIKENESS_DATA_DIR": str(self._service.data_dir)}, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        told = (ran.stdout or ran.stderr).splitlines()
        return [] if ran.returncode == 0 else [f"round {self._rounds}: the doctor says: {line}" for line in told]


if __name__ == "__main__":
    main()
