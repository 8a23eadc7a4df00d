"""A virtual environment made from a pinned and hashed requirement file, and left alone while it fits that file."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from app.environments.interpreter import Interpreter
from app.errors import OperatorError

STAMP = "likeness-stamp.json"
_UNFINISHED = "{}\n"
_LAST_LINES = 10


class Environment(NamedTuple):
    """One set of packages in one folder.

    Attributes:
        name: what the command line calls it.
        folder: the virtual environment, relative to the project.
        requirements: the pinned file, relative to the project.
        with_project: whether the project itself is installed too, editable.
    """

    name: str
    folder: str
    requirements: str
    with_project: bool


ENVIRONMENTS = {
    "service": Environment("service", ".venv", "requirements/service.txt", with_project=True),
    "dev": Environment("dev", ".venv", "requirements/dev.txt", with_project=True),
    "triton": Environment("triton", ".venv-triton", "triton/requirements.txt", with_project=False),
}

# The right one holds all that the left one does, with the same pins, in the same folder.
_SUPERSETS = {"service": "dev"}


class Stamp(NamedTuple):
    """What an environment was made from; written last, so a half-made one has none.

    Attributes:
        interpreter: version and path of the Python.
        name: which of the environments.
        requirements: sha256 of its requirement file.
        project: sha256 of pyproject.toml; empty where the project is not installed.
    """

    interpreter: str
    name: str
    requirements: str
    project: str


def advice(log: str) -> str:
    """What to do about a failed install, judged by what pip wrote."""
    if "DO NOT MATCH THE HASHES" in log:
        return "the index served a package that is not the pinned one, check which index pip uses (`pip config list`)"
    if "No space left on device" in log:
        return "the disk is full, free about 2 GB"
    # pip says the same of an index that does not answer and of one that lacks the package.
    return "check the network and the index that pip uses (`pip config list`, or name a mirror in PIP_INDEX_URL)"


class EnvironmentMaker:
    """Makes environments, and leaves those alone that are what their files say.

    Args:
        root: the project's folder.
        interpreter: the Python to make them with.
        run: runs a command, its output in a file where one is given, and returns its exit status.
        tell: says what is being done.
        terminal: whether somebody watches, who gets pip's progress bars; otherwise a step is one line.
    """

    def __init__(
        self,
        root: Path,
        interpreter: Interpreter,
        *,
        run: Callable[[Sequence[str], Path | None], int],
        tell: Callable[[str], None],
        terminal: bool = False,
    ) -> None:
        self._root = root
        self._interpreter = interpreter
        self._run = run
        self._tell = tell
        self._terminal = terminal

    def wanted(self, environment: Environment) -> Stamp:
        """The stamp that the environment has once it is what the files say."""
        return Stamp(
            interpreter=f"{self._interpreter.version} {self._interpreter.executable}",
            name=environment.name,
            requirements=_sha256(self._root / environment.requirements),
            project=_sha256(self._root / "pyproject.toml") if environment.with_project else "",
        )

    def is_ready(self, environment: Environment) -> bool:
        """Whether it, or one that holds more, is there and made from the present files."""
        names = {environment.name, _SUPERSETS.get(environment.name, environment.name)}
        fitting = [self.wanted(ENVIRONMENTS[name]) for name in names]
        return self._stamp(environment) in fitting and self._python(environment).exists()

    def make(self, environment: Environment) -> None:
        """Makes it, unless it is ready.

        Raises:
            OperatorError: it cannot be made; the sentence says what to do.
        """
        if self.is_ready(environment):
            return
        with self._locked():
            if not self.is_ready(environment):
                self._make(environment)

    def _make(self, environment: Environment) -> None:
        started = time.monotonic()
        before = self._stamp(environment)
        if before is not None and _SUPERSETS.get(environment.name) == before.name and self._has_packages(before):
            environment = ENVIRONMENTS[before.name]
        after = self.wanted(environment)
        folder = self._root / environment.folder
        if before is None or not self._has_packages(before) or not self._python(environment).exists():
            # Pins that changed get a new folder: what an old one leaves behind would hide what a file lacks.
            self._new_folder(environment)
            before = None
        (folder / STAMP).write_text(_UNFINISHED)
        if before is None or before.name != environment.name:
            self._tell(f"Installing {environment.requirements} into {environment.folder}")
            hashed = ["--require-hashes", "--only-binary=:all:", "--requirement", environment.requirements]
            # The files hold everything that is needed; what some packages ask for beyond that is left out on purpose.
            self._pip(environment, [*hashed, "--no-deps"])
        if environment.with_project:
            self._tell(f"Installing the project into {environment.folder}, editable")
            self._pip(environment, ["--no-deps", "--no-build-isolation", "--editable", "."])
        part = folder / f"{STAMP}.part"
        part.write_text(json.dumps(after._asdict(), indent=1) + "\n")
        part.replace(folder / STAMP)
        self._tell(f"{environment.folder} is ready ({time.monotonic() - started:.0f} s)")

    def _has_packages(self, stamp: Stamp) -> bool:
        """Whether a stamp speaks of this interpreter and of the present pins of its own file."""
        wanted = self.wanted(ENVIRONMENTS[stamp.name])
        return (stamp.interpreter, stamp.requirements) == (wanted.interpreter, wanted.requirements)

    def _new_folder(self, environment: Environment) -> None:
        folder = self._root / environment.folder
        if folder.is_symlink() or (folder.is_dir() and any(folder.iterdir()) and not (folder / STAMP).exists()):
            message = f"{folder} was not made by this project's make: move it away, or delete it with `make clean`."
            raise OperatorError(message)
        self._tell(f"Making {environment.folder} with Python {self._interpreter.version}")
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        (folder / STAMP).write_text(_UNFINISHED)
        if self._run([self._interpreter.executable, "-I", "-m", "venv", str(folder)], None) != 0:
            message = (
                f"{self._interpreter.executable} could not make {folder}: install the package python3-venv, "
                "or name another Python with `make PYTHON=…`."
            )
            raise OperatorError(message)

    def _pip(self, environment: Environment, arguments: Sequence[str]) -> None:
        log = self._root / "build" / f"pip-{environment.name}.log"
        log.unlink(missing_ok=True)
        # Python compiles what it imports: doing it for all files costs 20 s and 80 MB.
        command = [str(self._python(environment)), "-I", "-m", "pip", "install", "--no-input", "--no-compile"]
        if self._terminal:
            status = self._run([*command, "--log", str(log), *arguments], None)
        else:
            status = self._run([*command, "--progress-bar=off", *arguments], log)
        written = log.read_text(errors="replace") if log.exists() else ""
        if status != 0:
            if not self._terminal:
                self._tell("\n".join(written.splitlines()[-_LAST_LINES:]))
            message = (
                f"Installing into {environment.folder} failed: {advice(written)}, then run make again "
                f"(what pip said is in {log.relative_to(self._root)})."
            )
            raise OperatorError(message)
        log.unlink(missing_ok=True)

    def _python(self, environment: Environment) -> Path:
        return self._root / environment.folder / "bin" / "python"

    def _stamp(self, environment: Environment) -> Stamp | None:
        try:
            stamp = Stamp(**json.loads((self._root / environment.folder / STAMP).read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return stamp if stamp.name in ENVIRONMENTS else None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keeps two at once from making the same folder; the lock ends with the process that holds it."""
        (self._root / "build").mkdir(exist_ok=True)
        with (self._root / "build" / "environments.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._tell("Another make is setting up the environments: waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
