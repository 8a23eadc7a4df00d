"""Knows when Milvus has fallen silent, so that callers are told at once and not each after its own time limit."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from app.errors import BackendUnavailable, LikenessError
from app.store.milvus_errors import UNAVAILABLE, is_answer

_log = logging.getLogger("likeness.store")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long silence must last.

    Attributes:
        quiet_s: seconds without an answer to any call after which something small is asked.
        look_s: seconds between two such questions.
        looks: unanswered ones after which Milvus is taken for silent.
        settle_s: seconds, once it answers again, for calls to end that were given up: they may still be at work.
    """

    quiet_s: float = 5.0
    look_s: float = 0.5
    looks: int = 2
    settle_s: float = 1.0


class Outage:
    """Watches the calls to one Milvus.

    A call that takes long is no sign: others are answered meanwhile, or what is asked in between is.

    Args:
        ask: asks Milvus something small; raises a LikenessError where it does not answer within a few seconds.
        patience: how long silence must last.
    """

    def __init__(self, ask: Callable[[], Awaitable[object]], patience: Patience | None = None) -> None:
        self._ask = ask
        self._patience = patience or Patience()
        self._under_way = 0
        self._heard = 0.0
        self._watcher: asyncio.Task[None] | None = None
        self.is_silent = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """The block is a call.

        Raises:
            BackendUnavailable: at once, while Milvus is silent.
        """
        if self.is_silent:
            raise BackendUnavailable(UNAVAILABLE)
        if not self._under_way:
            self._heard = time.monotonic()  # nobody has asked, so nobody was answered
        self._under_way += 1
        if self._watcher is None or self._watcher.done():
            self._watcher = asyncio.create_task(self._watch())
        try:
            yield
        except Exception as error:
            if is_answer(error):
                self._heard = time.monotonic()
            raise
        else:
            self._heard = time.monotonic()
        finally:
            self._under_way -= 1

    async def close(self) -> None:
        """Ends the watch."""
        if self._watcher is not None:
            self._watcher.cancel()
            await asyncio.wait([self._watcher])

    async def _watch(self) -> None:
        patience, missed = self._patience, 0
        while self._under_way or self.is_silent:
            await asyncio.sleep(patience.look_s)
            if not self.is_silent and time.monotonic() - self._heard < patience.quiet_s:
                missed = 0
                continue
            try:
                await self._ask()
            except LikenessError:
                missed += 1
                if missed == patience.looks:
                    self.is_silent = True
                    _log.error("Milvus is silent: callers are told at once until it answers")
            else:
                missed, self._heard = 0, time.monotonic()
                if self.is_silent:
                    await asyncio.sleep(patience.settle_s)
                    self.is_silent = False
                    _log.warning("Milvus answers again")
