"""How this process, and what it starts, takes its turns on the processor."""

from __future__ import annotations

import ctypes
import os
import platform
from contextlib import suppress
from typing import Final

# Of sched_setattr(2), for which Python has no name.
_SCHED_SETATTR: Final = {"x86_64": 314, "aarch64": 274}
# Short enough that nobody notices who waits for one, long enough that a model that computes is seldom interrupted.
_TURN_NS: Final = 20_000_000


class _Attributes(ctypes.Structure):
    """``struct sched_attr``, as sched_setattr(2) tells it."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime", ctypes.c_uint64),
        ("deadline", ctypes.c_uint64),
        ("period", ctypes.c_uint64),
    )


def wait_for_turns() -> None:
    """Has what wakes up here wait for the end of another's turn rather than interrupt it, and makes turns longer.

    A search wakes the service, its Triton, its Milvus and its decoders dozens of times. Each time a model that computes
    would have to leave its core for a moment, and then find other people's data in the caches. Where a core is free
    nothing changes. Threads and processes inherit it.

    The policy is SCHED_BATCH (sched(7)). Linux takes the length of a turn from 6.12 on
    (https://docs.kernel.org/scheduler/sched-eevdf.html), and ignores it before. A policy that somebody chose for the
    service, as systemd's CPUSchedulingPolicy does, stays.
    """
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    with suppress(OSError):  # a sandbox may forbid it: then all goes on as before
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        _lengthen_turns()


def _lengthen_turns() -> None:
    number = _SCHED_SETATTR.get(platform.machine())
    if number is None:
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    attributes = _Attributes(ctypes.sizeof(_Attributes), os.SCHED_BATCH, nice=nice, runtime=_TURN_NS)
    ctypes.CDLL(None).syscall(number, 0, ctypes.byref(attributes), 0)
