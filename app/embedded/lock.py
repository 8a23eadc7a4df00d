"""A lock file: one folder belongs to one running service."""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO

from app.errors import OperatorError


def lock(path: Path) -> IO[str]:
    """Opens and locks a file; closing it, or the end of the process, lets the lock go.

    Raises:
        OperatorError: another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        message = (
            f"The data folder {path.parent} is in use by another Likeness: stop that one, "
            "or choose another folder with LIKENESS_DATA_DIR."
        )
        raise OperatorError(message) from error
    return file
