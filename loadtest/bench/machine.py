"""Names the machine and the versions of a run."""

from __future__ import annotations

import datetime
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from app import __version__
from loadtest.bench import peer
from loadtest.bench.measurements import Machine

_PACKAGES = ("onnxruntime", "numpy", "pillow", "sanic", "tritonclient", "pymilvus", "milvus-lite", peer.NAME)


def described(cores: int) -> Machine:
    """This machine at this moment.

    Args:
        cores: that are used.
    """
    versions = {"likeness": __version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return Machine(datetime.date.today().isoformat(), _processor(), cores, versions, peer.is_installed())


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
