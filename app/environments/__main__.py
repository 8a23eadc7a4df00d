"""The command line: sets up the environments that it is given the names of."""

from __future__ import annotations

import os
import platform
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from app.environments import triton
from app.environments.child import Interrupted, run_child
from app.environments.environment import ENVIRONMENTS, EnvironmentMaker
from app.environments.interpreter import SUPPORTED, Interpreter, check_venv_module, find_interpreter, wrong_python
from app.errors import OperatorError

ROOT = Path(__file__).resolve().parents[2]


def say(line: str) -> None:
    """Prints a line at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def set_up(names: Sequence[str]) -> None:
    """Makes the named environments with the running interpreter.

    Args:
        names: keys of :data:`ENVIRONMENTS`.

    Raises:
        OperatorError: one cannot be made.
    """
    if not names or not ENVIRONMENTS.keys() >= set(names):
        message = f"Name what to set up: {', '.join(ENVIRONMENTS)}."
        raise OperatorError(message)
    interpreter = Interpreter.running()
    maker = EnvironmentMaker(ROOT, interpreter, run=run_child, tell=say, terminal=sys.stdout.isatty())
    # All that needs no network is asked first: a minute of downloads should not end in a refusal.
    if "triton" in names:
        triton.check_platform(platform.system(), platform.machine(), platform.libc_ver())
        triton.libpython_dir(Path(interpreter.executable))
    if not all(maker.is_ready(ENVIRONMENTS[name]) for name in names):
        check_venv_module(interpreter)
    for name in names:
        maker.make(ENVIRONMENTS[name])


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)


def main(arguments: Sequence[str]) -> int:
    """Sets up, under a supported Python.

    Args:
        arguments: names of environments.

    Returns:
        The exit status.
    """
    os.chdir(ROOT)
    if sys.version_info[:2] not in SUPPORTED:
        other = find_interpreter(os.environ.get("PATH", ""))
        if other is None:
            sys.stderr.write(wrong_python(platform.python_version(), sys.executable) + "\n")
            return 1
        os.execv(other, [other, "-E", "-s", "-m", "app.environments", *arguments])  # noqa: S606
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        set_up(arguments)
    except OperatorError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"The environments cannot be set up: {error}.\n")
        return 1
    except Interrupted as interrupted:
        sys.stderr.write("\nStopped: the next run makes the unfinished environment afresh.\n")
        return 128 + interrupted.number
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
