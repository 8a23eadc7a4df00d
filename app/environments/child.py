"""A program run to its end on this terminal, which stops when we are stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path


class Interrupted(BaseException):
    """SIGINT or SIGTERM arrived.

    Args:
        number: the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def run_child(command: Sequence[str], output: Path | None = None) -> int:
    """Runs a program and waits for it.

    Args:
        command: program and arguments.
        output: file for all that it prints; None leaves it the terminal.

    Returns:
        Its exit status.

    Raises:
        Interrupted: as raised by the caller's signal handler; the program is gone by then.
    """
    # PIP_USER in somebody's configuration would send packages past the environment.
    environ = dict(os.environ, PIP_USER="0", PIP_DISABLE_PIP_VERSION_CHECK="1")
    with contextlib.ExitStack() as files:
        stream = files.enter_context(output.open("wb")) if output else None
        child = files.enter_context(
            subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream)  # noqa: S603
        )
        try:
            return child.wait()
        except Interrupted as interrupted:
            if interrupted.number != signal.SIGINT:  # a terminal sends that one to both
                child.send_signal(signal.SIGINT)
            try:
                child.wait(timeout=5)
            except subprocess.TimeoutExpired:
                child.kill()
            raise
