"""Milvus Lite as a process of its own, reached through a Unix socket that only this user can open."""

from __future__ import annotations

import asyncio
import importlib.metadata
import os
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from app.embedded.lock import lock
from app.embedded.process import Program, SupervisedProcess
from app.errors import OperatorError

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 3.0
# So far behind the last write the clock may be at a start: it is waited for. (As after a start right after a step.)
_MOST_BEHIND_S = 5.0
# The beginning of HTTP/2 and an empty frame of settings (RFC 9113, sections 3.4 and 6.5).
_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def database(data_dir: Path) -> Path:
    """The file in which Milvus Lite keeps everything."""
    return data_dir / "milvus.db"


def pending_rows(data_dir: Path) -> Path:
    """The folder that belongs to it, for updates that it may die in the middle of."""
    return data_dir / "pending"


class EmbeddedMilvus:
    """Runs the program of the ``milvus-lite`` wheel on ``<data_dir>/milvus.db``.

    The program takes no lock on its file, so this class holds one on the folder: two starts must not open one
    database. The same lock file is handed to the program, which ends by itself when the lock falls.
    The wheel's Python package is never imported: it needs ``pkg_resources``, which setuptools 82 removed.
    """

    def __init__(
        self, *, data_dir: Path, log_dir: Path, on_restart: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._data_dir = data_dir.resolve()
        self._log_dir = log_dir.resolve()
        self._lock: IO[str] | None = None
        self._socket_dir: Path | None = None
        self._library = _library_folder()
        self._process = SupervisedProcess(
            self._program,
            self._ready,
            start_timeout=_START_TIMEOUT_S,
            on_restart=on_restart,
            answers=self._answers,
        )

    @property
    def uri(self) -> str:
        """Address for a Milvus client."""
        return f"unix:{self._socket}"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid

    async def __aenter__(self) -> Self:
        self._lock = lock(self._data_dir / "milvus.lock")
        # A socket's path may hold 107 bytes at most: the data folder's own may be longer.
        self._socket_dir = Path(tempfile.mkdtemp(prefix="likeness-"))
        try:
            if (behind := _behind(self._data_dir)) < _MOST_BEHIND_S:
                await asyncio.sleep(behind)
            await self._process.start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._process.stop(_STOP_TIMEOUT_S)
        if self._socket_dir is not None:
            shutil.rmtree(self._socket_dir, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    @property
    def _socket(self) -> Path:
        assert self._socket_dir is not None, "EmbeddedMilvus is not entered"
        return self._socket_dir / "milvus.sock"

    def _program(self) -> Program:
        if (behind := _behind(self._data_dir)) > 0:
            # It would come up without the rows that were written later than now is, and the registry among them: a
            # group that is not in the registry is taken for one that was being removed.
            message = (
                f"The clock of this machine is {behind:.0f} seconds behind the last write to "
                f"{database(self._data_dir)}, and Milvus Lite shows no row that was written later than now: set the "
                "clock right."
            )
            raise OperatorError(message)
        self._socket.unlink(missing_ok=True)
        lock_file = str(self._data_dir / "milvus.lock")
        return Program(
            name="Milvus Lite",
            arguments=[str(self._library / "milvus"), str(database(self._data_dir)), self.uri, "ERROR", lock_file],
            environment=os.environ,
            libraries=str(self._library),
            folder=self._data_dir,
            log_file=self._log_dir / "milvus.log",
        )

    async def _ready(self) -> None:
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(str(self._socket))
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                await writer.wait_closed()
                return

    async def _answers(self) -> None:
        # The kernel takes connections for a program that hangs as well, so one waits for the server's first frame.
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        try:
            writer.write(_HELLO)
            await reader.readexactly(1)
        finally:
            writer.transport.abort()


def _behind(data_dir: Path) -> float:
    """Seconds by which the clock on the wall is behind the last write; 0 where it is not."""
    file = database(data_dir)
    written = [each.stat().st_mtime for each in file.parent.glob(f"{file.name}*")]
    return max(0.0, max(written, default=0.0) - time.time())


def _library_folder() -> Path:
    try:
        files = importlib.metadata.files("milvus-lite") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "milvus" and file.parent.name == "lib":
            program = Path(str(file.locate())).resolve()
            if program.exists():
                program.chmod(program.stat().st_mode | 0o100)
                return program.parent
    message = "The package milvus-lite 2.5.1 is missing or has no program: run `make run`, or set LIKENESS_MILVUS_URI."
    raise OperatorError(message)
