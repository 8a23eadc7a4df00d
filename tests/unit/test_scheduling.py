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
os.nice(3)
wait_for_turns()
own = lambda: print(os.sched_getscheduler(0), os.nice(0), flush=True)
own()
thread = threading.Thread(target=own)
thread.start()
thread.join()
subprocess.run([sys.executable, "-c", "import os; print(os.sched_getscheduler(0), os.nice(0))"])
"""


def ran(program: str) -> list[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_a_process_its_threads_and_what_it_starts_wait_for_the_end_of_anothers_turn_and_stay_as_nice_as_they_were() -> (
    None
):
    assert ran(PROGRAM) == [f"{os.SCHED_BATCH} {os.nice(0) + 3}"] * 3


def test_turns_are_as_long_as_they_are_to_be_where_the_kernel_lets_them_be_chosen() -> None:
    program = """
import ctypes, subprocess, sys
from app.scheduling import _Attributes, wait_for_turns
import platform
wait_for_turns()
told = _Attributes()
number = {"x86_64": 315, "aarch64": 275}[platform.machine()]
ctypes.CDLL(None).syscall(number, 0, ctypes.byref(told), ctypes.sizeof(told), 0)
print(told.policy, told.runtime)
"""
    policy, turn = ran(program)[0].split()
    assert int(policy) == os.SCHED_BATCH
    assert int(turn) in {20_000_000, 0}, "before Linux 6.12 there is no length to tell"


def test_a_policy_that_somebody_chose_for_the_service_stays() -> None:
    program = """
import os
from app.scheduling import wait_for_turns
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
wait_for_turns()
print(os.sched_getscheduler(0))
"""
    assert ran(program) == [str(os.SCHED_IDLE)]


def test_a_sandbox_that_forbids_it_stops_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.sched_setscheduler", forbidden)
    wait_for_turns()
    assert os.sched_getscheduler(0) == os.SCHED_OTHER
