"""SIGINT and SIGTERM: obeyed once, whenever they come."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from app.errors import OperatorError

_NUMBERS = {signal.SIGINT, signal.SIGTERM}


class StartInterrupted(OperatorError):
    """A signal came while the service was starting."""


class StopSignals:
    """Waits for the signals in a thread of its own and hands the first one to the event loop.

    An event loop's own signal handlers lose what comes between two of its runs (uvloop), and Sanic starts and stops
    its loop several times and ignores both signals for a while. A thread in ``sigwait`` misses nothing: the signals
    are blocked, and blocked signals are kept until somebody asks for them. Programs started from here inherit the
    block and lift it themselves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._came = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._obey: Callable[[], object] = lambda: None

    def listen(self) -> None:
        """Begins to listen; to be called before there are other threads, as those would take signals for themselves."""
        signal.pthread_sigmask(signal.SIG_BLOCK, _NUMBERS)
        threading.Thread(target=self._wait, name="likeness-signals", daemon=True).start()

    @asynccontextmanager
    async def interrupting(self, then: Callable[[], object]) -> AsyncIterator[None]:
        """A signal that comes before the end of the block cancels it; ``then`` is called for one that comes later.

        Raises:
            StartInterrupted: one came.
        """
        task = asyncio.current_task()
        assert task is not None, "runs inside a task"
        self._obey = task.cancel
        with self._lock:
            self._loop = asyncio.get_running_loop()
            came = self._came
        if came:
            task.cancel()
        try:
            yield
        except asyncio.CancelledError:
            if not self._came:
                raise
            message = "The start was interrupted."
            raise StartInterrupted(message) from None
        finally:
            self._obey = then

    def _wait(self) -> None:
        while True:  # those after the first are taken, too, and nothing comes of them: stopping is under way
            signal.sigwait(_NUMBERS)
            with self._lock:
                first, self._came = not self._came, True
                loop = self._loop
            if first and loop is not None:
                loop.call_soon_threadsafe(lambda: self._obey())  # noqa: PLW0108 (what it is by then)
