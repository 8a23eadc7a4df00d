"""Where the time of a request goes: the stages of its work, each measured wherever it happens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from enum import StrEnum
from typing import Protocol


class Stage(StrEnum):
    """A part of the work on a request."""

    FETCH = "fetch"
    DECODE = "decode"
    DETECT = "detect"
    ALIGN = "align"
    QUALITY = "quality"
    EMBED = "embed"
    SEARCH = "search"


class Stopwatch:
    """Measures the stages of one request.

    Images and faces of a request are worked on side by side; a stage counts while at least one of them is in it,
    waiting for a place included. So no stage takes longer than the request, but stages overlap.
    """

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._running: dict[Stage, int] = {}
        self._since: dict[Stage, float] = {}
        self._seconds: dict[Stage, float] = {}

    @property
    def milliseconds(self) -> Mapping[Stage, float]:
        """What the stages took, without those that never began; ones still running count up to now."""
        if not self._running:
            return {}
        now = time.perf_counter()
        return {
            stage: (self._seconds.get(stage, 0.0) + (now - self._since[stage] if self._running[stage] else 0.0)) * 1000
            for stage in Stage
            if stage in self._running
        }

    @property
    def total_milliseconds(self) -> float:
        """Since it was made."""
        return (time.perf_counter() - self._began) * 1000

    @contextmanager
    def measuring(self, stage: Stage) -> Iterator[None]:
        """Counts the block to a stage."""
        if not self._running.get(stage):
            self._running[stage] = 0
            self._since[stage] = time.perf_counter()
        self._running[stage] += 1
        try:
            yield
        finally:
            self._running[stage] -= 1
            if not self._running[stage]:
                passed = time.perf_counter() - self._since[stage]
                self._seconds[stage] = self._seconds.get(stage, 0.0) + passed


# Tasks inherit it from the request that started them, so that no call in between has to hand it on.
_current: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


@contextmanager
def stopwatch() -> Iterator[Stopwatch]:
    """Measures the stages of all that is done inside the block, its tasks included."""
    watch = Stopwatch()
    token = _current.set(watch)
    try:
        yield watch
    finally:
        _current.reset(token)


class StageObserver(Protocol):
    """Wants to know when an image or a face of a request enters and leaves a stage."""

    def began(self, stage: str) -> None:
        """One entered it."""

    def ended(self, stage: str) -> None:
        """One left it."""


_observer: ContextVar[StageObserver | None] = ContextVar("stage_observer", default=None)


def observe_stages(observer: StageObserver | None) -> None:
    """Tells an observer of the stages of all that is done in the rest of this task, and in tasks it starts."""
    _observer.set(observer)


@contextmanager
def stage(name: Stage) -> Iterator[None]:
    """Counts the block to a stage of the request that it belongs to, if any."""
    watch, observer = _current.get(), _observer.get()
    if observer is not None:
        observer.began(name.value)
    try:
        with watch.measuring(name) if watch is not None else nullcontext():
            yield
    finally:
        if observer is not None:
            observer.ended(name.value)
