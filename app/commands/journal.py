"""The result file of an import: one line per image, written at once, so that a killed import can go on."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, Literal

import msgspec

from app.errors import OperatorError


class Status(StrEnum):
    """What became of an image."""

    ADDED = "added"
    THERE = "already there"
    FAILED = "failed"


class Begin(msgspec.Struct, kw_only=True):
    """The first line: what the file is about."""

    result_of: Literal["likeness import"] = "likeness import"
    family: str
    group: str
    source: str


class Outcome(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A line: what became of one image.

    Attributes:
        id: the image's.
        status: what became of it.
        place: where it stands in its list, where it has no id.
        code: of the error.
        message: of the error, a sentence.
    """

    id: str
    status: Status
    place: str = ""
    code: str = ""
    message: str = ""


class Journal:
    """The result file, open for one import.

    Attributes:
        resumed: whether an import before this one wrote into it.
        done: ids of the images that need not be imported again.
    """

    def __init__(self, file: IO[bytes], begin: Begin, path: Path) -> None:
        self._file = file
        self._told: Counter[Status] = Counter()
        self.codes: Counter[str] = Counter()
        self.done: set[str] = set()
        first = file.readline()
        self.resumed = first.endswith(b"\n")
        whole = len(first) if self.resumed else 0
        if self.resumed:
            self._require_same(first, begin, path)
            for line in file:
                if not line.endswith(b"\n"):
                    break  # the writer was killed in the middle of it
                outcome = msgspec.json.decode(line, type=Outcome)
                whole += len(line)
                if outcome.status is not Status.FAILED:
                    self.done.add(outcome.id)
        file.seek(whole)
        file.truncate()
        if not self.resumed:
            self._write(begin)

    def note(self, outcome: Outcome) -> None:
        """Writes what became of an image; after this the process may be killed."""
        self._write(outcome)
        self._told[outcome.status] += 1
        if outcome.status is Status.FAILED:
            self.codes[outcome.code] += 1

    def count(self, status: Status) -> int:
        """Images of this status that this run noted."""
        return self._told[status]

    def _write(self, line: msgspec.Struct) -> None:
        self._file.write(msgspec.json.encode(line) + b"\n")
        self._file.flush()

    @staticmethod
    def _require_same(first: bytes, begin: Begin, path: Path) -> None:
        try:
            before = msgspec.json.decode(first, type=Begin)
        except msgspec.MsgspecError as error:
            raise OperatorError(f"{path} is no result file of an import: name another with --result.") from error
        if before != begin:
            raise OperatorError(
                f"{path} is the result file of an import of {before.source} into the {before.family} group "
                f"{before.group!r}: name another with --result."
            )


@contextmanager
def open_journal(path: Path, begin: Begin) -> Iterator[Journal]:
    """Opens a result file, or goes on with one.

    Raises:
        OperatorError: it cannot be written, is in use, or belongs to something else.
    """
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b")
    except OSError as error:
        message = f"The result file {path} cannot be written ({(error.strerror or str(error)).lower()})."
        raise OperatorError(message) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"Another import writes to {path}: wait for it, or name another file with --result."
            raise OperatorError(message) from error
        try:
            journal = Journal(file, begin, path)
        except msgspec.MsgspecError as error:
            raise OperatorError(f"{path} has a line that no import wrote: name another file with --result.") from error
        yield journal
