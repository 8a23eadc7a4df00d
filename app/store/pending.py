"""Keeps each replacement of a row in a file until it is done, for an engine that may die with only half of it done.

Milvus Lite replaces a row by a delete and an insert, each committed for itself: killed in between, it has lost a row
that had been acknowledged. So the new row is written down first, and put back where it is missing afterwards. The file
survives the death of any process; it is not synced to the disk, as the engine's own writes are not worth more.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from app.errors import OutOfResources


class PendingRows:
    """At most one row for each collection: replacements in one take turns.

    Args:
        folder: where the files are; it belongs to one process.
        vectors: the field whose value is an embedding.
    """

    def __init__(self, folder: Path, *, vectors: str) -> None:
        self._folder = folder
        self._vectors = vectors
        folder.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("*.partial"):  # of a process that was killed while it wrote
            left.unlink()

    def collections(self) -> set[str]:
        """Those in which a replacement was begun and is not known to be done."""
        return {path.stem for path in self._folder.glob("*.json")}

    def hold(self, collection: str, row: Mapping[str, object]) -> None:
        """Writes a row down before it is replaced.

        Raises:
            OutOfResources: it cannot be written, and must not be replaced.
        """
        vector = np.asarray(row[self._vectors], np.float32).tobytes()
        text = json.dumps({**row, self._vectors: base64.b64encode(vector).decode()})
        partial = self._folder / f"{collection}.partial"
        try:
            partial.write_text(text, encoding="utf-8")
            partial.replace(self._file(collection))
        except OSError as error:
            with suppress(OSError):
                partial.unlink()
            raise OutOfResources from error

    def row(self, collection: str) -> dict[str, object] | None:
        """The row that was written down last, if it was not released.

        Raises:
            OutOfResources: it cannot be read.
        """
        try:
            row: dict[str, object] = json.loads(self._file(collection).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise OutOfResources from error
        row[self._vectors] = np.frombuffer(base64.b64decode(str(row[self._vectors])), np.float32)
        return row

    def release(self, collection: str) -> None:
        """The replacement is done, or the collection is gone."""
        self._file(collection).unlink(missing_ok=True)

    def _file(self, collection: str) -> Path:
        return self._folder / f"{collection}.json"
