"""Nothing here interrupts what computes: neither the process, nor its threads, nor what it starts."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from app.scheduling import wait_for_turns

PROGRAM = """
import os, subprocess, sys, threading
from app.scheduling import wait_for_turns
wait_for_turns()
own = lambda: print(os.sched_getscheduler(0), flush=True)
own()
thread = threading.Thread(target=own)
thread.start()
thread.join()
subprocess.run([sys.executable, "-c", "import os; print(os.sched_getscheduler(0))"])
"""


def test_a_process_its_threads_and_what_it_starts_wait_for_the_end_of_anothers_turn() -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == [str(os.SCHED_BATCH)] * 3


def test_a_sandbox_that_forbids_it_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.sched_setscheduler", forbidden)
    wait_for_turns()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
