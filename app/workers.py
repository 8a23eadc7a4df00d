"""Several service processes behind one listening socket, started and kept running by a parent that serves nothing.

They share a Milvus server through turns (``store.turns``), the folder of imports through its locks, and a Triton, which
the parent starts where none is named. (Sanic's own process manager hangs on a SIGTERM that comes right after readiness,
and knows nothing of what belongs to all workers.)
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AsyncExitStack

from app.config import Settings
from app.errors import OperatorError
from app.server import bind, say_ready_on, serve
from app.services.jobs import taken_alone
from app.signals import StartInterrupted, StopSignals
from app.wiring import imports_folder, start_triton

_PR_SET_PDEATHSIG = 1
_READY = b"r"
_GRACE_S = 10.0  # for what closes after the last request: writes under way, connections
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 30.0
_STEADY_S = 60.0

_log = logging.getLogger("likeness.workers")


def serve_with_workers(settings: Settings, signals: StopSignals) -> None:
    """Serves with ``settings.workers`` processes until SIGINT or SIGTERM.

    Raises:
        OperatorError: the service cannot start; the sentence says what to do.
    """
    if settings.embedded_milvus:
        message = (
            f"LIKENESS_WORKERS is {settings.workers}, but the embedded Milvus Lite is for one process: name a Milvus "
            "server with LIKENESS_MILVUS_URI, or set LIKENESS_WORKERS to 1."
        )
        raise OperatorError(message)
    with bind(settings) as listener, contextlib.suppress(StartInterrupted):
        listener.listen(socket.SOMAXCONN)
        asyncio.run(_Workers(settings, listener).run(signals))
    logging.getLogger("likeness").info("Stopped")


def serve_as_worker(settings: Settings, signals: StopSignals, *, listener: int, ready: int, parent: int) -> None:
    """Serves as one of several processes, until a signal or the end of its parent.

    Args:
        settings: as the parent's.
        signals: what stops it.
        listener: descriptor of the listening socket.
        ready: descriptor that gets one byte when it serves.
        parent: process id of the parent.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it died before the signal was asked for
        return

    def tell_ready() -> None:
        os.write(ready, _READY)
        os.close(ready)

    serve(settings, signals, listener=socket.socket(fileno=listener), tell_ready=tell_ready)


class _Workers:
    def __init__(self, settings: Settings, listener: socket.socket) -> None:
        self._settings = settings
        self._listener = listener
        self._stopping = asyncio.Event()
        self._triton_url = settings.triton_url

    async def run(self, signals: StopSignals) -> None:
        settings = self._settings
        began = time.monotonic()
        async with AsyncExitStack() as stack:
            async with signals.interrupting(self._stopping.set):
                folder = imports_folder(settings)
                stack.callback((await asyncio.to_thread(taken_alone, folder)).close)
                if settings.embedded_triton:
                    self._triton_url = (await start_triton(settings, stack)).entry
                workers = [_Worker(number, self._command) for number in range(1, settings.workers + 1)]
                stack.push_async_callback(self._end, workers)
                await asyncio.gather(*(worker.start() for worker in workers))
            say_ready_on(settings, time.monotonic() - began)
            async with asyncio.TaskGroup() as group:
                watches = [group.create_task(worker.keep_running()) for worker in workers]
                await self._stopping.wait()
                _log.info("Stopping")
                self._listener.close()  # as the workers do theirs: nobody shall queue at a door that will not open
                for watch in watches:
                    watch.cancel()

    def _command(self, ready: int) -> subprocess.Popen[bytes]:
        listener = self._listener.fileno()
        environment = {**os.environ, "LIKENESS_TRITON_URL": self._triton_url}
        arguments = ["--listener", str(listener), "--ready", str(ready), "--parent", str(os.getpid())]
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "app", "worker", *arguments], env=environment, pass_fds=(listener, ready)
        )

    async def _end(self, workers: list[_Worker]) -> None:
        limit = self._settings.shutdown_timeout + _GRACE_S
        await asyncio.gather(*(worker.end(limit) for worker in workers))


class _Worker:
    def __init__(self, number: int, command: Callable[[int], subprocess.Popen[bytes]]) -> None:
        self._number = number
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    async def start(self) -> None:
        """Starts it and waits until it serves.

        Raises:
            OperatorError: it ended before.
        """
        receiver, sender = os.pipe()
        with os.fdopen(receiver, "rb", buffering=0) as ready:
            try:
                self._process = self._command(sender)
            finally:
                os.close(sender)
            self._started = time.monotonic()
            os.set_blocking(receiver, False)
            while (told := ready.read(1)) is None:  # nothing yet
                await asyncio.sleep(0.05)
        if told != _READY:
            message = f"Worker {self._number} stopped while it was starting: what it said is above."
            raise OperatorError(message)

    async def keep_running(self) -> None:
        """Starts it again whenever it ends."""
        pause_s = _FIRST_PAUSE_S
        while True:
            while self._process is not None and self._process.poll() is None:
                await asyncio.sleep(0.1)
            if time.monotonic() - self._started > _STEADY_S:
                pause_s = _FIRST_PAUSE_S
            status = self._process.returncode if self._process is not None else None
            _log.error("Worker %d stopped (exit status %s); starting it again", self._number, status)
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            try:
                await self.start()
            except (OperatorError, OSError) as error:
                _log.error("Worker %d could not be started: %s", self._number, error)
            else:
                _log.warning("Worker %d is running again", self._number)

    async def end(self, limit_s: float) -> None:
        """Asks it to stop, and kills it after a while."""
        process = self._process
        if process is None:
            return
        deadline = time.monotonic() + limit_s
        process.terminate()
        while process.poll() is None and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        if process.poll() is None:
            _log.error("Worker %d did not stop within %g s and is killed", self._number, limit_s)
            process.kill()
        await asyncio.to_thread(process.wait)
