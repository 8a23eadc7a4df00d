"""Files that the project trained and keeps beside this code: read only where they are the pinned ones."""

from __future__ import annotations

import hashlib
from pathlib import Path

from app.errors import OperatorError


def read_trained(path: Path, sha256: str, what: str) -> bytes:
    """The content of such a file.

    Args:
        path: the file.
        sha256: its pinned checksum.
        what: it is, for people.

    Raises:
        OperatorError: it is missing or not the pinned one.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise OperatorError(f"{path} cannot be read ({error.strerror}): install the service again.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise OperatorError(f"{path} is not the {what} that the catalogue pins: install the service again.")
    return content
