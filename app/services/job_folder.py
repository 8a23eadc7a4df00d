"""Imports on disk: what is to be added, what became of it, and how it ended; what a start goes on with."""

from __future__ import annotations

import asyncio
import base64
import fcntl
import hashlib
import io
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Self

import msgspec

from app.errors import OutOfResources, is_out_of_resources
from app.services.face_search import NewFace
from app.store.records import Family

_FACTS = "job.json"
_IMAGES = "images.jsonl"
_JOURNAL = "journal.jsonl"
_LOCK = "lock"
_CANCEL = "cancel"
_NEW = ".new-"  # first part of a folder's name while it is being written
_ID_BYTES = 16
MOST_ERRORS = 100


class JobState(StrEnum):
    """Where an import is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after it."""
        return self not in (JobState.WAITING, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of an import.

    Attributes:
        new: the image, and for a face how it is to be stored; None where the line is wrong.
        id: of a wrong line, where it has one.
        code: of the error of a wrong line.
        message: the error, a sentence.
    """

    new: NewFace | None
    id: str = ""
    code: str = ""
    message: str = ""


class JobFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What an import is; ``created`` is UTC in ISO 8601, ``key`` the id of the key that began it."""

    id: str
    family: Family
    group: str
    total: int
    created: str
    key: str = ""


class JobError(msgspec.Struct, frozen=True, kw_only=True):
    """Why an image of an import was not stored; ``index`` counts the lines from 0."""

    index: int
    id: str
    code: str
    message: str


class _Note(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A line of the journal: an image that is dealt with, a beginning, or the end of the import."""

    index: int = -1
    id: str = ""
    code: str = ""
    message: str = ""
    state: JobState | None = None
    at: float = 0.0  # of a beginning: Unix time


class JobFolder:
    """One import on disk. One process owns it and works on it; others can look at it.

    Attributes:
        facts: what it is.
        state: where it is.
        dealt: one byte per image: whether it is dealt with.
        failed: how many images were not stored.
        errors: why, of the first of them.
        error: why the whole import failed.
        resumed: whether a process before this one worked on it.
        began: when its owner began to work on it, as Unix time; 0 before that.
        before: how many images were dealt with then.
    """

    def __init__(self, folder: Path, facts: JobFacts) -> None:
        self._folder = folder
        self.facts = facts
        self.state = JobState.WAITING
        self.dealt = bytearray(facts.total)
        self.failed = 0
        self.errors: list[JobError] = []
        self.error = ""
        self.resumed = False
        self.began = 0.0
        self.before = 0
        self._lock: int | None = None
        self._journal: io.FileIO | None = None

    @classmethod
    def opened(cls, folder: Path) -> Self | None:
        """Takes what a process before this one left; None where it has an owner or cannot be read."""
        job = cls._of(folder)
        if job is None or not job._own():
            return None
        job._read_journal(mend=True)
        job.resumed = True
        if not job.state.is_final:
            job.state, job.began, job.before = JobState.WAITING, 0.0, 0
        return job

    @classmethod
    def seen(cls, folder: Path) -> Self | None:
        """What there is to see of an import that another process owns; None where there is none."""
        job = cls._of(folder)
        if job is not None:
            job._read_journal(mend=False)
        return job

    @classmethod
    def _of(cls, folder: Path) -> Self | None:
        try:
            return cls(folder, msgspec.json.decode((folder / _FACTS).read_bytes(), type=JobFacts))
        except OSError as error:
            if is_out_of_resources(error):
                raise OutOfResources from error  # it may well be there
            return None
        except msgspec.MsgspecError:
            return None

    def _own(self) -> bool:
        # The kernel takes the lock away with the process, however that ends.
        try:
            self._lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # another process made room
            return False
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            return False
        return True

    @property
    def is_kept(self) -> bool:
        """Whether it is on disk still: another process may have made room."""
        return (self._folder / _FACTS).exists()

    @property
    def rate(self) -> float:
        """Images per second since its owner works on it, up to its last sign of life."""
        try:
            until = (self._folder / _JOURNAL).stat().st_mtime if self.state.is_final else time.time()
        except FileNotFoundError:
            return 0.0
        seconds = until - self.began
        return (self.done + self.failed - self.before) / seconds if self.began and seconds > 0 else 0.0

    @property
    def done(self) -> int:
        """How many images are stored."""
        return sum(self.dealt) - self.failed

    def images(self) -> Generator[tuple[int, Entry], None, None]:
        """The images that are not dealt with, with their numbers.

        Raises:
            OutOfResources: they cannot be read at the moment.
        """
        try:
            images = (self._folder / _IMAGES).open("rb")
        except OSError as error:
            raise _told(error) from error
        with images as lines:
            for index, line in enumerate(lines):
                if not self.dealt[index]:
                    yield index, msgspec.json.decode(line, type=Entry)

    def begin(self) -> None:
        """Writes down that the work begins."""
        self.state, self.began, self.before = JobState.RUNNING, time.time(), self.done + self.failed
        self._write(_Note(state=JobState.RUNNING, at=self.began))

    def ask_to_cancel(self) -> None:
        """Asks the owner to end it."""
        with suppress(FileNotFoundError):
            (self._folder / _CANCEL).touch()

    @property
    def is_to_be_cancelled(self) -> bool:
        """Whether somebody asked for that."""
        return (self._folder / _CANCEL).exists()

    def note(self, index: int, error: JobError | None = None) -> None:
        """Writes down that an image is dealt with; after this the process may be killed."""
        note = _Note(index=index)
        if error is not None:
            note = _Note(index=index, id=error.id, code=error.code, message=error.message)
        self._write(note)
        self._count(note)

    def end(self, state: JobState, error: str = "") -> None:
        """Writes down how the import ended, and forgets its images."""
        self._write(_Note(state=state, message=error))
        self.state, self.error = state, error
        self.close()
        (self._folder / _IMAGES).unlink(missing_ok=True)

    def remove(self) -> None:
        """Forgets the import."""
        self.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def close(self) -> None:
        """Closes the journal and gives the import up: another process may own it."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write(self, note: _Note) -> None:
        """Adds a line, or nothing.

        Raises:
            OutOfResources: there is no room for it.
        """
        line = msgspec.json.encode(note) + b"\n"
        try:
            if self._journal is None:
                self._journal = (self._folder / _JOURNAL).open("ab", buffering=0)
            written = self._journal.write(line)
        except OSError as error:
            raise _told(error) from error
        if written != len(line):
            self._journal.truncate(self._journal.tell() - written)
            raise OutOfResources

    def _count(self, note: _Note) -> None:
        if self.dealt[note.index]:
            return
        self.dealt[note.index] = 1
        if note.code:
            self.failed += 1
            if len(self.errors) < MOST_ERRORS:
                self.errors.append(JobError(index=note.index, id=note.id, code=note.code, message=note.message))

    def _read_journal(self, *, mend: bool) -> None:
        whole = 0
        with suppress(FileNotFoundError), (self._folder / _JOURNAL).open("rb+" if mend else "rb") as journal:
            for line in journal:
                if not line.endswith(b"\n"):
                    break  # the writer was killed in the middle of it, or is in the middle of it
                try:
                    note = msgspec.json.decode(line, type=_Note)
                except msgspec.MsgspecError:
                    break  # what a crash of the machine left; the images from here on are tried again
                whole += len(line)
                if note.index >= len(self.dealt):
                    break
                if note.state is not None:
                    self.state, self.error = note.state, note.message
                    if note.at:
                        self.began, self.before = note.at, self.done + self.failed
                else:
                    self._count(note)
            if mend:
                journal.truncate(whole)


def is_id(text: str) -> bool:
    """Whether it looks like the id of an import."""
    return re.fullmatch(r"[A-Za-z0-9_-]{22}", text) is not None


def folders(folder: Path) -> list[Path]:
    """The folders of all imports that are written down."""
    return [each for each in folder.iterdir() if _is_whole(each)]


def clean(folder: Path) -> None:
    """Removes what was not written down to its end: its clients never heard of it. No process may be writing."""
    for each in filter(Path.is_dir, folder.iterdir()):
        if not _is_whole(each):
            shutil.rmtree(each, ignore_errors=True)


def _is_whole(folder: Path) -> bool:
    return not folder.name.startswith(_NEW) and (folder / _FACTS).exists()


async def written_down(
    folder: Path, entries: AsyncIterator[Entry], *, family: Family, group: str, created: str, key: str = ""
) -> JobFolder:
    """Writes an import down before it begins; when this returns it survives a kill.

    An image without an id gets one that is as good as random, and the same whenever the import goes on.

    Args:
        folder: of all imports.
        entries: its images.
        family: images or faces.
        group: the group.
        created: when.
        key: id of the key that asked for it; empty where no keys are asked for.

    Raises:
        OutOfResources: there is no room for it.
    """
    name = secrets.token_urlsafe(_ID_BYTES)
    own = folder / f"{_NEW}{name}"
    try:
        own.mkdir(parents=True)
        total = 0
        with (own / _IMAGES).open("wb") as images:
            async for entry in entries:
                images.write(msgspec.json.encode(_named(entry, name, total)) + b"\n")
                total += 1
            images.flush()
            await asyncio.to_thread(os.fsync, images.fileno())
        facts = JobFacts(id=name, family=family, group=group, total=total, created=created, key=key)
        (own / _FACTS).write_bytes(msgspec.json.encode(facts))
        written = JobFolder(own, facts)
        written._own()
        written._folder = own.replace(folder / name)
    except BaseException as error:
        shutil.rmtree(own, ignore_errors=True)
        if isinstance(error, OSError):
            raise _told(error) from error
        raise
    return written


def _told(error: OSError) -> OSError | OutOfResources:
    return OutOfResources() if is_out_of_resources(error) else error


def _named(entry: Entry, job: str, index: int) -> Entry:
    if entry.new is None or entry.new.image.id:
        return entry
    digest = hashlib.sha256(f"{job}/{index}".encode()).digest()[:_ID_BYTES]
    image = replace(entry.new.image, id=base64.urlsafe_b64encode(digest).decode().rstrip("="))
    return replace(entry, new=replace(entry.new, image=image))
