"""Where the time of a request goes: the stages of its work, each measured wherever it happens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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

    def began(self, stage: Stage) -> None:
        """An image or a face has come to a stage."""
        if not self._running.get(stage):
            self._running[stage] = 0
            self._since[stage] = time.perf_counter()
        self._running[stage] += 1

    def ended(self, stage: Stage) -> None:
        """One has left it."""
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


class stage:  # noqa: N801 (it is used as a function is)
    """Counts a block to a stage of the request that it belongs to, if any.

    A class, as ``contextlib`` makes context managers three times as slow, and each image has half a dozen of these.

    Args:
        name: of the stage.
    """

    __slots__ = ("_name", "_observer", "_watch")

    def __init__(self, name: Stage) -> None:
        self._name = name

    def __enter__(self) -> None:
        self._watch, self._observer = _current.get(), _observer.get()
        if self._observer is not None:
            self._observer.began(self._name.value)
        if self._watch is not None:
            self._watch.began(self._name)

    def __exit__(self, *_: object) -> None:
        if self._watch is not None:
            self._watch.ended(self._name)
        if self._observer is not None:
            self._observer.ended(self._name.value)
