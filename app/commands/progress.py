"""How far a long command is: one line that is written over on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TextIO

_ON_TERMINAL_S = 0.2
_ELSEWHERE_S = 10.0
_BAR = 24


def progress_text(done: int, total: int, failed: int, seconds: float, *, started: int = 0) -> str:
    """One line, e.g. ``[████░░░░] 120 of 480, 2 failed, 31.5/s, 0:11 left``.

    Args:
        done: images that are dealt with, failed ones included.
        total: all of them.
        failed: how many failed.
        seconds: since the start.
        started: images that were dealt with before the start.
    """
    share = done / total if total else 1.0
    filled = int(share * _BAR)
    text = f"[{'█' * filled}{'░' * (_BAR - filled)}] {done:,} of {total:,}"
    if failed:
        text += f", {failed:,} failed"
    rate = (done - started) / seconds if seconds > 0 else 0.0
    if rate > 0:
        text += f", {rate:.1f}/s"
        if done < total:
            text += f", {duration((total - done) / rate)} left"
    return text


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, e.g. ``1:02:03`` or ``0:07``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Progress:
    """Shows how far a command is, not too often.

    Args:
        out: where to; standard error where None.
        clock: tells seconds.
    """

    def __init__(self, out: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out or sys.stderr
        self._clock = clock
        self._terminal = self._out.isatty()
        self._next = 0.0 if self._terminal else clock() + _ELSEWHERE_S
        self._shown = False

    def show(self, text: str) -> None:
        """Shows a line, where the last one is old enough."""
        if self._clock() < self._next:
            return
        self._next = self._clock() + (_ON_TERMINAL_S if self._terminal else _ELSEWHERE_S)
        self._out.write(f"\r{text}\033[K" if self._terminal else f"{text}\n")
        self._out.flush()
        self._shown = True

    def clear(self) -> None:
        """Takes the line off a terminal."""
        if self._terminal and self._shown:
            self._out.write("\r\033[K")
            self._out.flush()
