"""Where several worker processes keep their series, so that each can answer for all of them.

Nothing here may import prometheus_client: while it is imported it decides by the environment whether it keeps numbers
in memory or in files.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own
_PREFIX = "metrics-"


@contextmanager
def metrics_files(run_dir: Path, *, workers: int) -> Iterator[None]:
    """Inside the block the series of so many worker processes add up; to be entered before they are started.

    With one process numbers stay in memory, which is faster and knows that process's own CPU and memory as well. With
    several they lie in files of a folder that is made anew for this start and removed with it: counters of an earlier
    start would look like those of this one.

    Args:
        run_dir: folder for files that only a running service needs.
        workers: processes that answer requests.
    """
    before = os.environ.pop(_VARIABLE, None)  # what another program left in the environment is not meant for us
    if workers == 1:
        yield
        return
    _remove_left_behind(run_dir)
    folder = run_dir / f"{_PREFIX}{os.getpid()}"
    folder.mkdir(parents=True)
    os.environ[_VARIABLE] = str(folder.absolute())
    try:
        yield
    finally:
        del os.environ[_VARIABLE]
        if before is not None:
            os.environ[_VARIABLE] = before
        shutil.rmtree(folder, ignore_errors=True)


def shared_folder() -> Path | None:
    """Where the series of several processes are kept; None where there is one process."""
    folder = os.environ.get(_VARIABLE)
    return Path(folder) if folder else None


def living(pid: str) -> bool:
    """Whether there is a process of this id, which has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _remove_left_behind(run_dir: Path) -> None:
    """Removes the folders of starts that were killed, or whose process id is ours now."""
    for folder in run_dir.glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX)
        if pid == str(os.getpid()) or not living(pid):
            shutil.rmtree(folder, ignore_errors=True)
