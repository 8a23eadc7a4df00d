"""How this process, and what it starts, takes its turns on the processor."""

from __future__ import annotations

import os
from contextlib import suppress


def wait_for_turns() -> None:
    """Has what wakes up here wait for the end of another's turn, rather than interrupt it (SCHED_BATCH of sched(7)).

    A search wakes the service, its Triton, its Milvus and its decoders dozens of times. Each time a model that computes
    would be interrupted in the middle, for a moment, and find other people's data in the caches. Where a core is free
    nothing changes, and who waits does so for a few milliseconds at most. Threads and processes inherit it.
    """
    with suppress(OSError):  # a sandbox may forbid it: then all goes on as before
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
