"""What the embedded Triton asks of a machine: its platform, its glibc and a shared libpython."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from app.errors import OperatorError

# nvidia-pytriton 0.7.0 has wheels for these, tagged manylinux_2_35.
MACHINES = ("x86_64", "aarch64")
GLIBC = (2, 35)
_OWN_TRITON = "or set LIKENESS_TRITON_URL to a Triton of your own (compose.yaml runs NVIDIA's)"

# LIBDIR is wrong for an interpreter that was moved after its build, hence the other folders.
_LIBPYTHON_PROBE = """
import json, sys, sysconfig
prefix, multiarch = sys.base_prefix, sysconfig.get_config_var("MULTIARCH") or ""
print(json.dumps({
    "version": "%d.%d" % sys.version_info[:2],
    "library": sysconfig.get_config_var("INSTSONAME") or "",
    "folders": [sysconfig.get_config_var("LIBDIR") or "", prefix + "/lib", prefix + "/lib/" + multiarch],
}))
"""


def check_platform(system: str, machine: str, libc: tuple[str, str]) -> None:
    """The server is a binary for Linux.

    Args:
        system: as :func:`platform.system` says it.
        machine: as :func:`platform.machine` says it.
        libc: name and version, as :func:`platform.libc_ver` says them.

    Raises:
        OperatorError: there is none for this machine.
    """
    name, version = libc
    known = system == "Linux" and machine in MACHINES and name == "glibc"
    if known and tuple(int(part) for part in version.split(".")[:2]) >= GLIBC:
        return
    shown = f"{system} on {machine}" + (f" with {name} {version}" if name else "")
    message = (
        f"The embedded Triton needs Linux on x86_64 or aarch64 with glibc 2.35 or newer, this is {shown}: "
        f"use such a machine, {_OWN_TRITON}."
    )
    raise OperatorError(message)


def libpython_dir(python: Path) -> Path:
    """Folder of an interpreter's shared libpython, which the stub of the server's Python backend loads.

    Args:
        python: the interpreter; a virtual environment's is fine.

    Raises:
        OperatorError: it has none, or it does not run.
    """
    try:
        answer = subprocess.run(  # noqa: S603
            [str(python), "-I", "-c", _LIBPYTHON_PROBE], capture_output=True, text=True, timeout=60, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        message = f"{python} does not run: repair it, or name another Python with `make PYTHON=…`."
        raise OperatorError(message) from error
    facts = json.loads(answer)
    if ".so" in facts["library"]:
        for folder in map(Path, filter(None, facts["folders"])):
            if (folder / facts["library"]).is_file():
                return folder
    message = (
        f"{python} has no shared libpython, which Triton's server loads: install the package "
        f"libpython{facts['version']} (Debian, Ubuntu), name a Python built with --enable-shared with "
        f"`make PYTHON=…`, {_OWN_TRITON}."
    )
    raise OperatorError(message)
