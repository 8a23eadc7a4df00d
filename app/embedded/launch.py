"""Guards one program: ``launch.py PARENT_PID LIBRARIES PROGRAM ARGUMENTS…``.

Run as a script in a fresh interpreter, as the leader of a process group of its own. It starts the program, hands
signals on to it and ends with its status. When the parent dies, in whatever way, it kills the whole group: a server's
own children, which know nothing of us, must not stay behind. (A parent-death signal for the program alone is not
enough: Triton's model processes outlive a server that is killed while it loads them.)
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from types import FrameType

PR_SET_PDEATHSIG = 1
PARENT_DIED = signal.SIGUSR1


def main() -> int:
    """Runs the program to its end and returns its exit status, as a shell counts it."""
    parent, libraries, program, *arguments = sys.argv[1:]

    def kill_group(_number: int, _frame: FrameType | None) -> None:
        os.killpg(0, signal.SIGKILL)

    def end_with_guard() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    # The service blocks them for itself; here they shall arrive, and at the program as well.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT, signal.SIGTERM})
    prctl = ctypes.CDLL(None).prctl
    signal.signal(PARENT_DIED, kill_group)
    prctl(PR_SET_PDEATHSIG, PARENT_DIED)
    if os.getppid() != int(parent):  # it died before the signal was asked for
        return 1
    # The libraries are the program's: this very interpreter could not run with them.
    environment = {**os.environ, "LD_LIBRARY_PATH": libraries}
    # (preexec_fn is safe here: this interpreter has no other threads.)
    process = subprocess.Popen([program, *arguments], env=environment, preexec_fn=end_with_guard)  # noqa: S603, PLW1509

    def hand_on(number: int, _frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, hand_on)
    status = process.wait()
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    sys.exit(main())
