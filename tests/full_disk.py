"""A disk without room, as a process meets it: through a limit on the size of files, which the kernel sets it."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_room(*, beyond: int = 0, pid: int | None = None) -> Iterator[None]:
    """Inside the block a process can write no byte of any file beyond so many. (Python ignores the signal for that.)"""
    process = os.getpid() if pid is None else pid
    before = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (beyond, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_FSIZE, before)
