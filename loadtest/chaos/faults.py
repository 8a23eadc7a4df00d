"""The faults: each does its harm, waits, and takes it back."""

from __future__ import annotations

import contextlib
import os
import random
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtest.chaos.line import Way
from loadtest.chaos.stack import Stack

# Longer than the service's supervisor takes to see that a program hangs.
_LONGEST_HANG_S = 120.0
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True)
class Fault:
    """One kind of harm.

    Attributes:
        name: in the table and on the command line.
        does: what it is, for the table.
        harm: does it, waits and takes it back; a dice decides for how long.
        fits: whether it can be done to a stack.
    """

    name: str
    does: str
    harm: Callable[[Stack, float, random.Random], None]
    fits: Callable[[Stack], bool] = lambda _: True


def _kill_triton(stack: Stack, _timeout_s: float, _dice: random.Random) -> None:
    os.kill(stack.triton, signal.SIGKILL)


def _kill_model(stack: Stack, _timeout_s: float, dice: random.Random) -> None:
    os.kill(dice.choice(stack.models), signal.SIGKILL)


def _stop_model_long(stack: Stack, timeout_s: float, dice: random.Random) -> None:
    _stopped(dice.choice(stack.models), timeout_s * dice.uniform(1.2, 1.6))


def _kill_decoder(stack: Stack, _timeout_s: float, dice: random.Random) -> None:
    os.kill(dice.choice(stack.decoders), signal.SIGKILL)


def _stop_decoder_long(stack: Stack, timeout_s: float, dice: random.Random) -> None:
    _stopped(dice.choice(stack.decoders), timeout_s * dice.uniform(1.2, 1.6))


def _kill_milvus(stack: Stack, _timeout_s: float, _dice: random.Random) -> None:
    os.kill(stack.milvus, signal.SIGKILL)
    if stack.server is not None:
        stack.restart_server()


def _stop_triton(stack: Stack, _timeout_s: float, dice: random.Random) -> None:
    _stopped(stack.triton, dice.uniform(1, 3))


def _stop_triton_long(stack: Stack, timeout_s: float, dice: random.Random) -> None:
    _stopped(stack.triton, timeout_s * dice.uniform(1.2, 1.6))


def _stop_milvus(stack: Stack, _timeout_s: float, dice: random.Random) -> None:
    _stopped(stack.milvus, dice.uniform(1, 3))


def _stop_milvus_long(stack: Stack, timeout_s: float, dice: random.Random) -> None:
    _stopped(stack.milvus, timeout_s * dice.uniform(1.2, 1.6))


def _hang_triton(stack: Stack, _timeout_s: float, _dice: random.Random) -> None:
    _hung(stack.triton)


def _hang_milvus(stack: Stack, _timeout_s: float, _dice: random.Random) -> None:
    _hung(stack.milvus)


def _slow_triton(stack: Stack, timeout_s: float, _dice: random.Random) -> None:
    _throttled(stack.triton, timeout_s)


def _slow_milvus(stack: Stack, timeout_s: float, _dice: random.Random) -> None:
    _throttled(stack.milvus, timeout_s)


def _line(way: Way) -> Callable[[Stack, float, random.Random], None]:
    def harm(stack: Stack, timeout_s: float, dice: random.Random) -> None:
        assert stack.line is not None
        stack.line.become(way)
        try:
            time.sleep(timeout_s * dice.uniform(0.6, 1.6))
        finally:
            stack.line.become(Way.WHOLE)

    return harm


def _full_disk(stack: Stack, _timeout_s: float, dice: random.Random) -> None:
    """Writes until nothing more fits, again and again: what is freed meanwhile is taken as well."""
    filling = stack.service.data_dir / "filling"
    try:
        until = time.monotonic() + dice.uniform(4, 8)
        while time.monotonic() < until:
            with contextlib.suppress(OSError), filling.open("ab", buffering=0) as file:
                size = 1 << 20
                while size:
                    try:
                        file.write(bytes(size))
                    except OSError:
                        size //= 2
            time.sleep(0.05)
    finally:
        filling.unlink()


def _no_descriptors(stack: Stack, _timeout_s: float, dice: random.Random) -> None:
    """Lowers the limit of the running service to a few more than it has open, and takes those."""
    pid = stack.service.pid
    used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + dice.randrange(12), before[1]))
    try:
        with _crowd(stack.service.port, 100):
            time.sleep(dice.uniform(3, 6))
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def _many_connections(stack: Stack, _timeout_s: float, dice: random.Random) -> None:
    with _crowd(stack.service.port, 1500):
        time.sleep(dice.uniform(3, 6))


def _clock_jump(stack: Stack, _timeout_s: float, dice: random.Random) -> None:
    """Back by days, or ahead by seconds, and to what is right.

    Not ahead by days: what is written then, Milvus Lite shows when those days have passed.
    """
    stack.clock.jump(dice.choice([-400 * _DAY_S, -_DAY_S, 4.0]))
    time.sleep(dice.uniform(3, 6))
    stack.clock.jump(0)


def _stopped(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        with contextlib.suppress(ProcessLookupError):  # it was started again meanwhile
            os.kill(pid, signal.SIGCONT)


def _hung(pid: int) -> None:
    """Stopped for good: until somebody kills it."""
    os.kill(pid, signal.SIGSTOP)
    deadline = time.monotonic() + _LONGEST_HANG_S
    try:
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def _throttled(pid: int, seconds: float) -> None:
    """Lets it work for a tenth of the time."""
    until = time.monotonic() + seconds
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < until:
            _stopped(pid, 0.27)
            time.sleep(0.03)


@contextmanager
def _crowd(port: int, most: int) -> Iterator[None]:
    """Connections that say nothing."""
    with ExitStack() as opened:
        for _ in range(most):
            with contextlib.suppress(OSError):
                opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=1))
        yield


def _has_line(stack: Stack) -> bool:
    return stack.line is not None


ALL = {
    fault.name: fault
    for fault in (
        Fault("triton-kill", "kill -9 of the Triton server", _kill_triton),
        Fault("model-kill", "kill -9 of one of Triton's model processes", _kill_model),
        Fault("triton-stop", "SIGSTOP of Triton for 1 to 3 s", _stop_triton),
        Fault("triton-stop-long", "SIGSTOP of Triton for longer than a call may take", _stop_triton_long),
        Fault("model-stop-long", "SIGSTOP of a model process for longer than a call may take", _stop_model_long),
        Fault("triton-hang", "SIGSTOP of Triton for good", _hang_triton),
        Fault("triton-slow", "Triton stopped nine tenths of the time", _slow_triton),
        Fault("decoder-kill", "kill -9 of a process that decodes images", _kill_decoder),
        Fault("decoder-stop-long", "SIGSTOP of one for longer than a call may take", _stop_decoder_long),
        Fault("milvus-kill", "kill -9 of Milvus", _kill_milvus),
        Fault("milvus-stop", "SIGSTOP of Milvus for 1 to 3 s", _stop_milvus),
        Fault("milvus-stop-long", "SIGSTOP of Milvus for longer than a call may take", _stop_milvus_long),
        Fault("milvus-hang", "SIGSTOP of Milvus for good", _hang_milvus, lambda stack: stack.server is None),
        Fault("milvus-slow", "Milvus stopped nine tenths of the time", _slow_milvus),
        Fault("milvus-late", "bytes to and from Milvus 1.5 s late", _line(Way.LATE), _has_line),
        Fault("milvus-drip", "bytes to and from Milvus 64 at a time", _line(Way.DRIPPING), _has_line),
        Fault("milvus-silent", "nothing passes to or from Milvus", _line(Way.SILENT), _has_line),
        Fault("milvus-cut", "connections to Milvus cut, new ones refused", _line(Way.CUT), _has_line),
        Fault("disk-full", "the data folder full to the last byte", _full_disk, lambda stack: stack.is_mounted),
        Fault("descriptors", "no file descriptors left in the service", _no_descriptors),
        Fault("connections", "1,500 connections that say nothing", _many_connections),
        Fault("clock", "the clock on the wall jumps and is set right", _clock_jump, lambda stack: stack.clock.is_built),
    )
}
