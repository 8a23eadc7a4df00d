"""Tells a program that cannot work any more, though it runs, from one that is merely busy."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from app.errors import is_out_of_resources

_LOOK_EVERY_S = 2.0
_LOOK_TIMEOUT_S = 2.0
# A machine that keeps everybody waiting keeps us, too: so looks are counted, and not only seconds.
_LOOKS = 5
# Share of one processor under which a program that does not answer is not at work either.
_IDLE = 0.05
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class _Group:
    """The processes of a process group at one moment.

    Attributes:
        members: their ids, but for those that have ended and nobody has taken note of.
        used_s: processor time of all of them so far.
        stopped: whether one of them is stopped, as by SIGSTOP.
    """

    members: frozenset[int]
    used_s: float
    stopped: bool

    @classmethod
    def of(cls, group: int, among: Iterable[int]) -> _Group:
        members: set[int] = set()
        ticks, stopped = 0, False
        for process in among:
            with suppress(FileNotFoundError, ProcessLookupError):
                told = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
                fields = told.rpartition(")")[2].split()
                if int(fields[2]) == group and fields[0] != "Z":
                    members.add(process)
                    ticks += int(fields[11]) + int(fields[12])
                    stopped = stopped or fields[0] == "T"
        return cls(frozenset(members), ticks / _TICKS, stopped)


async def trouble(group: int, answers: Callable[[], Awaitable[None]]) -> str:
    """Returns once a program cannot work any more; what is wrong with it, as the end of a sentence.

    One of the processes that it had when it was ready has ended: Triton goes on without a model's process, and that
    model never answers again. Or it hangs, as five looks in a row have found: it does not answer and hardly uses a
    processor, or one of its processes is stopped. A program that uses one is at work on something large: it is left
    alone, however long that takes.

    Args:
        group: id of the program's process group.
        answers: asks it something small; returns once it has answered, or raises OSError.
    """
    first = before = await _looked(group)
    missed, since = 0, time.monotonic()
    while True:
        await asyncio.sleep(_LOOK_EVERY_S)
        # Only at those of the first look: a machine may have thousands of processes.
        answered, now = await _answered(answers), await _looked(group, first.members if first is not None else None)
        if answered is None or now is None or first is None or before is None:
            # For want of open files here nothing can be told of it.
            first, before, missed, since = first or now, before or now, 0, time.monotonic()
            continue
        if first.members - now.members:
            return "has lost a process of its own"
        if answered and not now.stopped:
            missed, since, before = 0, time.monotonic(), now
            continue
        missed += 1
        if missed >= _LOOKS:
            if now.stopped or now.used_s - before.used_s < _IDLE * (time.monotonic() - since):
                return "hangs"
            missed, since, before = 0, time.monotonic(), now


async def _looked(group: int, members: Iterable[int] | None = None) -> _Group | None:
    def look() -> _Group:
        everybody = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal())
        return _Group.of(group, members if members is not None else everybody)

    try:
        return await asyncio.to_thread(look)
    except OSError:
        return None


async def _answered(answers: Callable[[], Awaitable[None]]) -> bool | None:
    """Whether it has; None where it could not be asked."""
    try:
        async with asyncio.timeout(_LOOK_TIMEOUT_S):
            await answers()
    except (OSError, EOFError) as error:  # a TimeoutError is an OSError
        return None if isinstance(error, OSError) and is_out_of_resources(error) else False
    return True
