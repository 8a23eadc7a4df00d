"""Which Python makes the environments, and whether it can."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from app.errors import OperatorError

SUPPORTED = ((3, 11), (3, 12))


class Interpreter(NamedTuple):
    """A Python to make environments with.

    Attributes:
        executable: its path, outside any virtual environment.
        version: ``major.minor.micro``.
    """

    executable: str
    version: str

    @classmethod
    def running(cls) -> Interpreter:
        """The one that runs this file, or the one behind it where that is a virtual environment's."""
        executable = str(getattr(sys, "_base_executable", "") or sys.executable)
        return cls(os.path.realpath(executable), platform.python_version())


def find_interpreter(search_path: str) -> str | None:
    """Looks for a supported Python on a search path.

    Each is tried: the shims of version managers lie on the path also where they lead nowhere.

    Args:
        search_path: folders as in ``PATH``.

    Returns:
        The first that runs, or None.
    """
    for major, minor in SUPPORTED:
        for folder in search_path.split(os.pathsep):
            candidate = Path(folder or ".") / f"python{major}.{minor}"
            if os.access(candidate, os.X_OK) and _version(candidate) == f"{major} {minor}":
                return str(candidate.absolute())
    return None


def _version(python: Path) -> str:
    with contextlib.suppress(OSError, subprocess.TimeoutExpired):
        probe = [str(python), "-I", "-c", "import sys; print(*sys.version_info[:2])"]
        answer = subprocess.run(probe, capture_output=True, text=True, timeout=20, check=False)  # noqa: S603
        if answer.returncode == 0:
            return answer.stdout.strip()
    return ""


def wrong_python(version: str, executable: str) -> str:
    """The sentence for a machine without a supported Python.

    Args:
        version: of the one that was found.
        executable: its path.
    """
    return (
        f"Python 3.11 or 3.12 is needed, found {version} ({executable}) and neither python3.11 nor python3.12 on PATH: "
        "install one, or name it with `make PYTHON=…`."
    )


def check_venv_module(interpreter: Interpreter) -> None:
    """Debian and Ubuntu ship Python without the parts that make virtual environments.

    Raises:
        OperatorError: they are missing.
    """
    specs = [importlib.util.find_spec(name) for name in ("venv", "ensurepip")]
    # A folder that a removed package left behind is a namespace: a spec without an origin.
    if any(spec is None or spec.origin is None for spec in specs):
        minor = ".".join(interpreter.version.split(".")[:2])
        message = (
            f"{interpreter.executable} cannot make virtual environments: install the package python3-venv "
            f"(or python{minor}-venv), then run make again."
        )
        raise OperatorError(message)
