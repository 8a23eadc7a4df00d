"""The trace of the request at work, for what calls other servers on its behalf."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import Protocol


class Trace(Protocol):
    """What callers of other servers need of a trace; its maker needs packages that are not always installed."""

    def call(self, name: str, attributes: Mapping[str, str | int]) -> AbstractContextManager[dict[str, str]]:
        """Counts the block to a call of another server; yields the headers that tell that server of the trace."""


# Tasks inherit it from the request that started them.
_current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def current_trace() -> Trace | None:
    """The trace of the request that this is done for; None where there is none."""
    return _current.get()


def keep_trace(trace: Trace | None) -> None:
    """Makes it the current one for the rest of this task."""
    _current.set(trace)
