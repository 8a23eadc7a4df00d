"""Writes the database of Milvus Lite anew, without what was deleted from it.

Milvus Lite keeps everything in one SQLite file. What is deleted there stays in the file's free pages, and in gaps of
others, until something else is written over it; a copy made by ``VACUUM INTO`` has neither.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from app.embedded.lock import lock
from app.embedded.milvus import database
from app.errors import OperatorError

_BESIDE = ("-journal", "-wal", "-shm")  # what SQLite may leave beside a database whose process was killed


@dataclass(frozen=True, slots=True)
class Vacuumed:
    """The size of the file in bytes, before and after, and how much of it was free pages before."""

    before: int
    free: int
    after: int


def vacuum(data_dir: Path) -> Vacuumed:
    """Replaces the database by a copy without what was deleted; the service must not be running.

    Raises:
        OperatorError: there is no database, it is in use or damaged, or the copy cannot be written.
    """
    path = database(data_dir)
    if not path.exists():
        message = (
            f"There is no database in the data folder {data_dir}: name the right one with LIKENESS_DATA_DIR, or a "
            "Milvus server with LIKENESS_MILVUS_URI."
        )
        raise OperatorError(message)
    part = path.with_name(f"{path.name}.part")
    with lock(data_dir / "milvus.lock"):
        try:
            part.unlink(missing_ok=True)
            before = path.stat().st_size
            free = _copied(path, part)
            for end in _BESIDE:  # nothing in them is needed any more, and none may meet the copy
                path.with_name(path.name + end).unlink(missing_ok=True)
            part.replace(path)
        except (sqlite3.Error, OSError) as error:
            message = f"The database {path} could not be written anew ({error}); it is as it was."
            raise OperatorError(message) from error
        finally:
            part.unlink(missing_ok=True)
        return Vacuumed(before, free, path.stat().st_size)


def _copied(path: Path, part: Path) -> int:
    """Writes the copy and looks at it; returns the bytes of free pages that it lacks."""
    part.touch(mode=0o600)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
        (size,) = old.execute("PRAGMA page_size").fetchone()
        (pages,) = old.execute("PRAGMA freelist_count").fetchone()  # after what a killed process left was finished
        old.execute("VACUUM INTO ?", (str(part),))
    with contextlib.closing(sqlite3.connect(part)) as new:
        (state,) = new.execute("PRAGMA integrity_check(1)").fetchone()
        (left,) = new.execute("PRAGMA freelist_count").fetchone()
    if state != "ok" or left:
        raise sqlite3.DatabaseError(f"the copy is not sound: {state}, {left} free pages")
    with part.open("rb+") as file:
        os.fsync(file.fileno())
    return int(size * pages)
