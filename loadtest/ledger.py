"""What may be true of each key while writes are under way, and after some of them were cut off."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class Write(Generic[T]):
    """A value of one key: ``None`` for its absence. It may be seen between two moments of the ledger's own time."""

    key: str
    value: T | None
    begun: int
    ended: float = math.inf


class Ledger(Generic[T]):
    """Books writes as they begin and are answered, so that every read can be judged.

    A write may be seen from the moment it was sent; the values before it, until it was answered. One whose answer never
    came leaves both possible until somebody looks.
    """

    def __init__(self) -> None:
        self._time = count(1)
        self._writes: dict[str, list[Write[T]]] = {}

    def now(self) -> int:
        """A moment, later than all before."""
        return next(self._time)

    def begin(self, key: str, value: T | None) -> Write[T]:
        """A write is sent."""
        write = Write(key, value, self.now())
        self._writes.setdefault(key, [Write(key, None, 0)]).append(write)
        return write

    def answered(self, write: Write[T]) -> None:
        """It was done: what was there before it is not seen any more."""
        end = self.now()
        for other in self._writes[write.key]:
            if other is not write and other.begun < write.begun:
                other.ended = min(other.ended, end)

    def refused(self, write: Write[T]) -> None:
        """It was not done and never will be."""
        write.ended = self.now()

    def settle(self, key: str, value: T | None) -> None:
        """Somebody looked while nothing was under way: from now on it is this."""
        self._writes[key] = [Write(key, value, self.now())]

    def allowed(self, key: str, since: int) -> set[T | None]:
        """What a read that was sent at ``since`` and is answered now may see."""
        writes = self._writes.get(key)
        if writes is None:
            return {None}
        return {write.value for write in writes if write.ended >= since}

    def booked(self) -> Iterable[str]:
        """Every key that was ever written."""
        return self._writes.keys()
