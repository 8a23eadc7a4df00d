"""The record of what was done and who did it: JSON Lines that are only ever added to."""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from app.config import Settings

_DIGEST_CHARACTERS = 16

_log = logging.getLogger("likeness.audit")


def open_audit_log(settings: Settings) -> AuditLog:
    """The audit log of a data folder."""
    path = settings.data_dir / "audit.jsonl"
    return AuditLog(path, max_bytes=settings.audit_max_bytes, older=settings.audit_files)


def now() -> str:
    """The time as audit lines have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


class AuditLog:
    """A file that several processes add lines to, and older ones beside it: ``audit.jsonl.1`` is the youngest of them.

    Each line is one write to a file opened for appending, which the kernel does not mix with other writes.

    Args:
        path: of the file.
        max_bytes: size from which a new file is begun.
        older: number of older files that are kept.
    """

    def __init__(self, path: Path, *, max_bytes: int, older: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._older = older
        self._file = -1
        self._cut = False
        self._digest_key: bytes | None = None

    def add(self, line: Mapping[str, Any]) -> None:
        """Adds a line. Where that fails the log says so, and the work goes on."""
        data = msgspec.json.encode(line) + b"\n"
        if self._cut:
            data = b"\n" + data  # what is left of the line before must not spoil this one
        try:
            self._open_current()
            written = os.write(self._file, data)
            self._cut = written != len(data)
            if self._cut:
                _log.error("A line of %s was cut: the disk is full", self.path)
        except OSError as error:
            _log.error("The audit log %s cannot be written: %s", self.path, error)

    def digest(self, id: str) -> str:  # noqa: A002
        """What stands for an id: the same for the same id, and told back by nobody without this installation's key.

        Ids may be names or addresses, which a plain hash would not hide: they can be guessed and tried.
        """
        return self.full_digest(id)[:_DIGEST_CHARACTERS]

    def full_digest(self, id: str) -> str:  # noqa: A002
        """The whole of what ``digest`` tells the beginning of."""
        return self._keyed(id.encode())

    def seal(self, data: bytes) -> str:
        """What shows that data was written here; it is the digest of no id, as none has a zero byte."""
        return self._keyed(b"\0" + data)

    def _keyed(self, data: bytes) -> str:
        if self._digest_key is None:
            self._digest_key = self._read_or_make_digest_key()
        return hmac.digest(self._digest_key, data, hashlib.sha256).hex()

    def digests(self, ids: Sequence[str]) -> list[str]:
        """As ``digest``, of several; none where there is no key and none can be kept, which the log then says."""
        try:
            return [self.digest(each) for each in ids]
        except OSError as error:
            _log.error("The key of the audit log %s cannot be read or made: %s", self.path, error)
            return []

    def lines(self) -> Iterator[dict[str, Any]]:
        """All lines that are kept, oldest first; what was cut by a full disk is passed over."""
        for number in range(self._older, -1, -1):
            with suppress(FileNotFoundError), self._numbered(number).open("rb") as file:
                for line in file:
                    with suppress(msgspec.DecodeError):
                        yield msgspec.json.decode(line, type=dict[str, Any])

    def close(self) -> None:
        """Closes the file; the next line opens it again."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _open_current(self) -> None:
        """Sees to it that lines go to the file of that name, and that it is not too long."""
        if self._file >= 0:
            ours = os.fstat(self._file)
            if ours.st_size >= self._max_bytes:
                self._begin_new_file()
            elif ours.st_nlink and self._is_current(ours):
                return
            self.close()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _is_current(self, ours: os.stat_result) -> bool:
        try:
            return os.path.samestat(ours, self.path.stat())
        except FileNotFoundError:
            return False

    def _begin_new_file(self) -> None:
        with self.path.with_name(f"{self.path.name}.lock").open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with suppress(FileNotFoundError):  # another process may have been faster
                if self.path.stat().st_size < self._max_bytes:
                    return
            for number in range(self._older, 0, -1):
                with suppress(FileNotFoundError):
                    self._numbered(number - 1).replace(self._numbered(number))

    def _numbered(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}") if number else self.path

    def _read_or_make_digest_key(self) -> bytes:
        path = self.path.with_name("audit.key")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"audit.key.{secrets.token_hex(8)}")
        if not path.exists():
            try:
                part.touch(mode=0o600)
                part.write_bytes(secrets.token_bytes(32))
                with suppress(FileExistsError):
                    path.hardlink_to(part)  # of several processes one is first
            finally:
                part.unlink(missing_ok=True)
        return path.read_bytes()
