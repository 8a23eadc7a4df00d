"""One child process: started, watched, restarted when it dies, and never left behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.embedded.watch import trouble
from app.errors import OperatorError

_LAUNCHER = Path(__file__).with_name("launch.py")
_LOG_BYTES = 8 * 1024 * 1024
_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Program:
    """What to run.

    Attributes:
        name: what the log calls it.
        arguments: the command line, program first.
        environment: the whole environment of the child, but for ``LD_LIBRARY_PATH``.
        libraries: its ``LD_LIBRARY_PATH``.
        folder: its working directory.
        log_file: where its output goes; the previous file is kept beside it as ``*.1``.
        stop_signal: what asks it to stop.
    """

    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    libraries: str
    folder: Path
    log_file: Path
    stop_signal: signal.Signals = signal.SIGTERM


class SupervisedProcess:
    """Keeps one program running.

    The program gets its own process group, so that Ctrl-C in a terminal reaches only us and we decide the order of
    stopping; and a guard, so that neither it nor its children outlive a kill -9 of the service.

    Args:
        program: makes the program anew for each start (ports may change).
        ready: returns once the program answers; it is cancelled when the process dies first.
        start_timeout: seconds until a start that is not ready has failed.
        on_restart: called after the program died and is ready again.
        answers: returns once the program has answered something small; a program that cannot work any more is killed
            and so started again. Without it only one that has ended is.
    """

    def __init__(
        self,
        program: Callable[[], Program],
        ready: Callable[[], Awaitable[None]],
        *,
        start_timeout: float,
        on_restart: Callable[[], Awaitable[None]] | None = None,
        answers: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._answers = answers
        self._make_program = program
        self._ready = ready
        self._start_timeout = start_timeout
        self._on_restart = on_restart
        self._log = logging.getLogger("likeness.embedded")
        self._program: Program | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._watcher: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the program's guard, which leads its process group, while it runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    async def start(self) -> None:
        """Starts the program and waits until it is ready.

        Raises:
            OperatorError: it died or did not become ready in time; the sentence names its log file.
        """
        await self._launch()
        self._watcher = asyncio.create_task(self._watch())

    async def stop(self, timeout: float) -> None:
        """Asks the program to stop and kills it and its children after ``timeout`` seconds."""
        if self._watcher is not None:
            self._watcher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watcher
        await self._end(timeout)

    async def _launch(self) -> None:
        program = self._program = self._make_program()
        program.log_file.parent.mkdir(parents=True, exist_ok=True)
        if program.log_file.exists() and program.log_file.stat().st_size > _LOG_BYTES:
            program.log_file.replace(program.log_file.with_name(program.log_file.name + ".1"))
        with program.log_file.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603, ASYNC220 (returns as soon as it has forked)
                [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid()), program.libraries, *program.arguments],
                env=dict(program.environment),
                cwd=program.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            await self._wait_ready(program)
        except BaseException:
            await self._end(1)
            raise

    async def _wait_ready(self, program: Program) -> None:
        assert self._process is not None
        ready = asyncio.ensure_future(self._ready())
        deadline = time.monotonic() + self._start_timeout
        try:
            while not ready.done():
                await asyncio.wait([ready], timeout=0.05)
                if ready.done():
                    break
                if self._process.poll() is not None:
                    message = (
                        f"{program.name} stopped while it was starting (exit status {self._process.returncode}): "
                        f"its log {program.log_file} says why."
                    )
                    raise OperatorError(message)
                if time.monotonic() > deadline:
                    message = (
                        f"{program.name} was not ready after {self._start_timeout:g} seconds: "
                        f"its log {program.log_file} says why."
                    )
                    raise OperatorError(message)
            ready.result()
        finally:
            ready.cancel()

    async def _watch(self) -> None:
        delay = 0.2
        while True:
            process = self._process
            started = time.monotonic()
            if process is not None and self._program is not None:
                await self._ended(self._program, process)
            if time.monotonic() - started > 60:
                delay = 0.2
            name = self._program.name if self._program is not None else "program"
            if process is None:
                self._log.error("%s is not running; trying to start it again", name)
            elif process.returncode is not None:
                self._log.error("%s stopped (exit status %s); starting it again", name, process.returncode)
            await self._end(0)
            await asyncio.sleep(delay)
            delay = min(delay * 2, 30.0)
            try:
                await self._launch()
                if self._on_restart is not None:
                    await self._on_restart()
            except Exception as error:
                self._log.error("%s could not be started again: %s", name, error)
            else:
                self._log.warning("%s is running again", name)

    async def _ended(self, program: Program, process: subprocess.Popen[bytes]) -> None:
        """Waits until the program has ended, or cannot work any more."""
        exit_ = asyncio.create_task(_exited(process))
        watch = asyncio.create_task(trouble(process.pid, self._answers)) if self._answers is not None else None
        try:
            await asyncio.wait({exit_} if watch is None else {exit_, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not exit_.done() and watch is not None:
                self._log.error("%s %s: it is killed and started again", program.name, watch.result())
        finally:
            exit_.cancel()
            if watch is not None:
                watch.cancel()

    async def _end(self, timeout: float) -> None:
        process, program = self._process, self._program
        if process is None or program is None:
            return
        if process.poll() is None and timeout > 0:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(program.stop_signal)
            deadline = time.monotonic() + timeout
            while process.poll() is None and time.monotonic() < deadline:
                await asyncio.sleep(0.02)
        # The whole group: a server that was killed may leave its own children behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await asyncio.to_thread(process.wait)
        self._process = None


async def _exited(process: subprocess.Popen[bytes]) -> None:
    """Returns once a child has ended: the kernel tells, where it has a descriptor left for that."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except OSError:
        while process.poll() is None:
            await asyncio.sleep(_POLL_S)
        return
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        while process.poll() is None:
            await ended.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
