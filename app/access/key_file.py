"""Where keys are kept: one small file that several processes, or several hosts, may share."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from app.access.key import ApiKey
from app.errors import OperatorError

_VERSION = 1

Keys = Mapping[str, ApiKey]
Result = TypeVar("Result")


class UnreadableKeys(Exception):
    """The file is there, but cannot be read or is not one of keys: nobody can be let in by it."""


class _Contents(msgspec.Struct, forbid_unknown_fields=True):
    version: int
    keys: list[ApiKey]


class KeyFile:
    """The file of the keys.

    It is replaced as a whole and never written in place: whoever reads it sees all of one change or nothing of it.

    Args:
        path: where it is; it need not be there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def version(self) -> tuple[int, ...] | None:
        """Changes whenever the file does; None where it is not there.

        Raises:
            UnreadableKeys: it cannot be looked at.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UnreadableKeys(error.strerror) from error
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def read(self) -> Keys:
        """All keys by their ids; none where there is no file.

        Raises:
            UnreadableKeys: it cannot be read, or holds something else.
        """
        try:
            contents = msgspec.json.decode(self.path.read_bytes(), type=_Contents)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise UnreadableKeys(error.strerror) from error
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UnreadableKeys(f"it is no file of keys: {error}") from error
        if contents.version != _VERSION:
            raise UnreadableKeys(f"it has the version {contents.version}, not {_VERSION}")
        return {key.id: key for key in contents.keys}

    @property
    def is_writable_by_all(self) -> bool:
        """Whether any user of the machine could make keys."""
        try:
            return bool(self.path.stat().st_mode & stat.S_IWOTH)
        except OSError:
            return False

    def change(self, edit: Callable[[dict[str, ApiKey]], Result]) -> Result:
        """Lets ``edit`` change the keys, one change at a time; when it returns they are on the disk.

        Raises:
            OperatorError: the file cannot be read or written.
            what ``edit`` raises; nothing is changed then.
        """
        try:
            with self._locked():
                keys = dict(self.read())
                result = edit(keys)
                self._replace(msgspec.json.format(msgspec.json.encode(_Contents(_VERSION, list(keys.values())))))
                return result
        except UnreadableKeys as error:
            raise OperatorError(f"The keys in {self.path} cannot be read ({error}).") from error
        except OSError as error:
            message = f"The keys cannot be written to {self.path} ({(error.strerror or str(error)).lower()})."
            raise OperatorError(message) from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        # A file beside it: the file itself is another one after each change.
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f"{self.path.name}.lock").open("a") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield

    def _replace(self, content: bytes) -> None:
        mode = stat.S_IMODE(self.path.stat().st_mode) if self.path.exists() else 0o600
        descriptor, name = tempfile.mkstemp(dir=self.path.parent, prefix=f".{self.path.name}-")
        part = Path(name)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content + b"\n")
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            part.replace(self.path)
        except BaseException:
            with suppress(OSError):
                part.unlink()
            raise
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)  # the new name too must survive a power cut
        finally:
            os.close(folder)
