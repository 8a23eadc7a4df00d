"""The cores that the models of a machine without an accelerator share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


class SharedCores:
    """Knows how many batches are at work, of whichever model, and tells when one is done.

    Args:
        own: cores of this process that the models use, too; 0: they have a machine of their own.
    """

    def __init__(self, own: int = 0) -> None:
        self._own = own
        self._at_work = 0
        self._waiting: list[Callable[[], None]] = []

    @property
    def at_work(self) -> int:
        """Batches of all models."""
        return self._at_work

    @property
    def none_is_left(self) -> bool:
        """Whether a model has each of the cores of this process, so that a thread would find none free."""
        return 0 < self._own <= self._at_work

    def take(self) -> None:
        """A batch has begun."""
        self._at_work += 1

    def give_back(self) -> None:
        """A batch is done, or has failed."""
        self._at_work -= 1
        for tell in tuple(self._waiting):
            tell()

    def subscribe(self, tell: Callable[[], None]) -> None:
        """Has ``tell`` called whenever a batch is done."""
        self._waiting.append(tell)

    def unsubscribe(self, tell: Callable[[], None]) -> None:
        """Ends that."""
        self._waiting.remove(tell)


@dataclass(frozen=True, slots=True)
class Gathering:
    """When items that gain from company wait for it.

    A call takes processor time of its own, whatever is in it. While every core has a batch, and one more lies ready for
    the first that is free, another that is not full yet gains nothing by being sent at once: it may as well grow. No
    core idles for it, so it costs no throughput, and nothing at all on a machine that is not busy.

    Attributes:
        shared: by all models that use the same cores.
        cores: tells how many there are, which changes with the servers.
        seconds: for which the oldest item waits at most.
    """

    shared: SharedCores
    cores: Callable[[], int]
    seconds: float

    @property
    def pays(self) -> bool:
        """Whether waiting costs nothing at this moment."""
        return self.shared.at_work > self.cores()
