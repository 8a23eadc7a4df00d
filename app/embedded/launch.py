"""Replaces itself by a program that dies when its parent does: ``launch.py PARENT_PID LIBRARIES PROGRAM ARGUMENTS…``.

Run as a script in a fresh interpreter. (The alternative, ``preexec_fn``, runs Python between fork and exec of a
process that has threads, which may deadlock and which Python 3.12 warns about.)
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Asks for SIGKILL at the parent's death, then becomes the program."""
    parent, libraries, program, *arguments = sys.argv[1:]
    # A parent-death signal survives execve: prctl(2).
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(parent):  # it died before the signal was asked for
        sys.exit(1)
    # Set here and not by the parent: this very interpreter would load the program's libraries too.
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    os.execve(program, [program, *arguments], environment)  # noqa: S606


if __name__ == "__main__":
    main()
