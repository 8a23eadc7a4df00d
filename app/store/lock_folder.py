"""Turns kept by the kernel: locked files in a folder that all service processes of one machine share.

A lock falls with its process, however that ends, so nothing has to expire and nobody is taken for dead who is not. Two
files serve a name. The gate is held only while one waits for the name itself, so whoever has the gate is next: readers
and writers pass in turn, and neither side can keep the other out. The file of the name carries its generation.
(See flock(2); it is not to be trusted between machines, over a network file system.)
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import random
import secrets
import struct
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from app.errors import BackendUnavailable, OperatorError
from app.store.turns import Raised, Release

_STATE = struct.Struct("<QB")  # generation, and whether a write is under way
_FIRST_PAUSE_S = 0.0005
_LONGEST_PAUSE_S = 0.008
# A writer that was killed, or did not hear the end of its write, may have left a call that is still at work in Milvus.
_GRACE_S = 1.0
_DOWN = "The folder that keeps the processes of this service apart cannot be used at the moment: try again later."


def automatic_folder() -> Path:
    """Where processes of this user meet that were not told another place.

    Raises:
        OperatorError: somebody else owns it.
    """
    folder = Path(tempfile.gettempdir()) / f"likeness-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    facts = folder.lstat()
    if folder.is_symlink() or facts.st_uid != os.getuid() or facts.st_mode & 0o022:
        message = (
            f"The folder {folder} is not this user's own, and locks in it would be worth nothing: "
            "remove it, or name another folder with LIKENESS_LOCKS."
        )
        raise OperatorError(message)
    return folder


class LockFolder:
    """Turns for the processes that use the same folder.

    Args:
        folder: where the files are; made where it is missing.
        grace_s: seconds to wait after a writer that was killed.
    """

    def __init__(self, folder: Path, *, grace_s: float = _GRACE_S) -> None:
        self._folder = folder
        self._grace_s = grace_s
        folder.mkdir(parents=True, exist_ok=True)

    @asynccontextmanager
    async def reading(self, name: str) -> AsyncIterator[int]:
        """See ``Turns``."""
        async with self._held(name, fcntl.LOCK_SH) as file:
            generation, cut_off = _state(file)
            if cut_off:
                await asyncio.sleep(self._grace_s)
            if cut_off or not generation:  # from now on a write, or a loss of this file, can be told
                generation = _fresh()
                _note(file, generation, busy=False)
            yield generation

    @asynccontextmanager
    async def writing(self, name: str) -> AsyncIterator[Raised]:
        """See ``Turns``."""
        async with self._held(name, fcntl.LOCK_EX) as file:
            before, cut_off = _state(file)
            if cut_off:
                await asyncio.sleep(self._grace_s)
                before = 0
            after = _fresh()
            _note(file, after, busy=True)
            try:
                yield Raised(before, after)
            except BackendUnavailable:
                raise  # what Milvus was asked may still happen: for whoever comes next this is as good as a kill
            except BaseException:
                _note(file, after, busy=False)
                raise
            _note(file, after, busy=False)

    async def claim(self, name: str) -> Release | None:
        """See ``Turns``."""
        file = _open(self._path(name, "claim"))
        try:
            taken = _locks(file, fcntl.LOCK_EX)
        except BaseException:
            os.close(file)
            raise
        if not taken:
            os.close(file)
            return None

        async def release() -> None:
            os.close(file)

        return release

    async def generation(self, name: str) -> int:
        """See ``Turns``."""
        with _opened(self._path(name, "lock")) as file:
            return _state(file)[0]

    async def drop(self, name: str) -> None:
        """See ``Turns``: whoever still waits for it gets it, and finds that what it stood for is gone."""
        for kind in ("lock", "gate"):
            with suppress(OSError):
                self._path(name, kind).unlink()

    async def close(self) -> None:
        """See ``Turns``."""

    @asynccontextmanager
    async def _held(self, name: str, mode: int) -> AsyncIterator[int]:
        with _opened(self._path(name, "lock")) as file:
            with _opened(self._path(name, "gate")) as gate:
                await _lock(gate, fcntl.LOCK_EX)
                await _lock(file, mode)
            yield file

    def _path(self, name: str, kind: str) -> Path:
        # A collection's name may have 255 characters already.
        digest = hashlib.blake2b(name.encode(), digest_size=16).hexdigest()
        return self._folder / f"{digest}.{kind}"


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = _open(path)
    try:
        yield file
    finally:
        os.close(file)


def _open(path: Path) -> int:
    # A descriptor of its own for each turn: the lock belongs to it, and closing it gives the lock back.
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    try:
        try:
            return os.open(path, flags, 0o666)  # what others may do with it is said by the folder and the umask
        except FileNotFoundError:  # somebody cleaned up
            path.parent.mkdir(parents=True, exist_ok=True)
            return os.open(path, flags, 0o666)
    except OSError as error:
        raise BackendUnavailable(_DOWN) from error


async def _lock(file: int, mode: int) -> None:
    pause_s = _FIRST_PAUSE_S
    while not _locks(file, mode):
        await asyncio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 (spreads those who wait)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _locks(file: int, mode: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(file, mode | fcntl.LOCK_NB)
        return True
    return False


def _state(file: int) -> tuple[int, bool]:
    found = os.pread(file, _STATE.size, 0)
    if len(found) < _STATE.size:
        return 0, False
    generation, busy = _STATE.unpack(found)
    return generation, bool(busy)


def _note(file: int, generation: int, *, busy: bool) -> None:
    try:
        os.pwrite(file, _STATE.pack(generation, busy), 0)
    except OSError as error:  # a full disk
        raise BackendUnavailable(_DOWN) from error


def _fresh() -> int:
    return secrets.randbits(63) or 1
