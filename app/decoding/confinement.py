"""What a decoder may not do, so that a hole in a codec opens nothing else.

Limits are those of setrlimit(2); files and the network are closed by Landlock
(https://docs.kernel.org/userspace-api/landlock.html) where the kernel has it.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
# These numbers are the same on every architecture: calls newer than Linux 5.1 are.
_LANDLOCK_CREATE_RULESET, _LANDLOCK_RESTRICT_SELF = 444, 446
_LANDLOCK_CREATE_RULESET_VERSION = 1
# Rights that exist from each version of Landlock's ABI on: of files, of TCP, and of signals and abstract sockets.
_FILE_RIGHTS = {1: 0x1FFF, 2: 0x3FFF, 3: 0x7FFF, 5: 0xFFFF}
_NET_SINCE, _NET_RIGHTS = 4, 0x3
_SCOPE_SINCE, _SCOPES = 6, 0x3

_libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = (
        ("handled_access_fs", ctypes.c_uint64),
        ("handled_access_net", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    )


def die_with(parent: int) -> None:
    """Has the kernel kill this process when its parent dies.

    Raises:
        SystemExit: the parent has died already.
    """
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit(1)


class DataLimit:
    """A limit on the memory of this process: what it has now, and so much more.

    Args:
        most: bytes that no image may exceed.
        slack: bytes beside those of an image: what allocators keep, stacks of a codec's threads.
    """

    def __init__(self, most: int, *, slack: int) -> None:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        held = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmData:"))
        self._base = held + slack
        self._most = self._base + most
        resource.setrlimit(resource.RLIMIT_DATA, (self._most, self._most))

    def allow(self, more: int) -> None:
        """Sets the limit for one image."""
        resource.setrlimit(resource.RLIMIT_DATA, (min(self._base + more, self._most), self._most))


def confine() -> str:
    """Takes from this process, for good, what a decoder needs not: files, programs, TCP, signals to others.

    Returns:
        What does so, for the log.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    version = _libc.syscall(_LANDLOCK_CREATE_RULESET, None, ctypes.c_size_t(0), _LANDLOCK_CREATE_RULESET_VERSION)
    if version < 1:
        return f"limits only (no Landlock: {errno.errorcode.get(ctypes.get_errno(), 'unknown')})"
    rules = _Ruleset(
        handled_access_fs=_FILE_RIGHTS[max(each for each in _FILE_RIGHTS if each <= version)],
        handled_access_net=_NET_RIGHTS if version >= _NET_SINCE else 0,
        scoped=_SCOPES if version >= _SCOPE_SINCE else 0,
    )
    size = 8 if version < _NET_SINCE else 16 if version < _SCOPE_SINCE else 24
    descriptor = _libc.syscall(_LANDLOCK_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    if descriptor < 0 or _libc.syscall(_LANDLOCK_RESTRICT_SELF, descriptor, 0) != 0:
        return f"limits only (Landlock: {errno.errorcode.get(ctypes.get_errno(), 'unknown')})"
    os.close(descriptor)
    return f"limits and Landlock {version}"
