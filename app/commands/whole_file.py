"""A file that appears under its name only once it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter
from pathlib import Path

from app.errors import OperatorError


@contextmanager
def whole_file(file: Path, *, force: bool, mode: int = 0o666) -> Iterator[BufferedWriter]:
    """Yields what the block writes the file to; a block that fails leaves nothing.

    Args:
        file: to write.
        force: whether a file that is there is replaced.
        mode: who may read it, less what the process' umask takes away.

    Raises:
        OperatorError: it is there already, or cannot be written.
    """
    if file.exists() and not force:
        raise OperatorError(f"{file} is there already: name another file, or replace it with --force.")
    part = file.with_name(f"{file.name}.part")
    try:
        part.touch(mode=mode)
        with part.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    except OSError as error:
        message = f"{file} cannot be written ({(error.strerror or str(error)).lower()})."
        raise OperatorError(message) from error
    finally:
        part.unlink(missing_ok=True)
