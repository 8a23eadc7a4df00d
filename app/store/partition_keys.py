"""Decides once for each connection whether new groups get their tag as the partition key, and says why.

The version decides first; where it may be right, a trial on a scratch collection does, in the background of the start:
only the making of a group waits for it. Groups made under another decision are used as they are.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass

from app.errors import BackendUnavailable, LikenessError
from app.store.engine import Engine
from app.store.names import age_of_scratch, scratch_name
from app.store.partition_trial import fault_of

_TRIAL_TIMEOUT_S = 60.0
_DROP_TIMEOUT_S = 2.0
# Another service of the prefix may be at its own trial just now: only what is older was left by a crash.
_STALE_S = 120.0

_log = logging.getLogger("likeness.store")


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether new groups get a partition key, and why, as a sentence."""

    on: bool
    why: str


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """Which engine it is, its version where it tells one, and the decision where it is made."""

    engine: str
    version: str | None
    partition_keys: Decision | None


class PartitionKeys:
    """The decision of one connection.

    Args:
        prefix: of this service's collections.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._own: set[str] = set()
        self._decision: Decision | None = None
        self._deciding: asyncio.Task[Decision] | None = None
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def decision(self) -> Decision | None:
        """The decision; None until it is made."""
        return self._decision

    def begin(self, engine: Engine) -> None:
        """Begins to decide, where that has not begun; returns at once."""
        if self._decision is not None or self._deciding is not None:
            return
        doubt = engine.profile.unpartitioned
        if doubt is not None:
            self._decide(Decision(on=False, why=doubt))
            return
        self._deciding = asyncio.create_task(self._try_out(engine))
        self._deciding.add_done_callback(self._tried_out)
        if self._sweeping is None:
            self._sweeping = asyncio.create_task(self._sweep(engine))

    async def number(self, engine: Engine, capacity: int) -> int | None:
        """Number of partitions for a new group of that capacity; None for one without a partition key.

        Raises:
            BackendUnavailable: Milvus does not answer, so that nothing can be decided.
        """
        self.begin(engine)
        decision = self._decision
        if decision is None:
            assert self._deciding is not None, "it has begun"
            decision = await asyncio.shield(self._deciding)
        return engine.profile.partitions(capacity) if decision.on else None

    async def close(self) -> None:
        """Ends what goes on in the background."""
        tasks = [task for task in (self._deciding, self._sweeping) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=_DROP_TIMEOUT_S)
            for task in late:  # the scratch collection is left to the next start
                task.cancel()
            await asyncio.wait(tasks)

    def _decide(self, decision: Decision) -> None:
        self._decision = decision
        _log.info("Partition keys are %s. %s", "on" if decision.on else "off", decision.why)

    async def _try_out(self, engine: Engine) -> Decision:
        started = time.monotonic()
        fault: str | None = None
        for _ in range(2):  # a server that is just starting up may break one off
            collection = scratch_name(self._prefix)
            self._own.add(collection)
            try:
                async with asyncio.timeout(_TRIAL_TIMEOUT_S):
                    fault = await fault_of(engine, collection)
                break
            except (BackendUnavailable, TimeoutError):
                await engine.has(collection)  # raises where Milvus is away: then nothing is decided
                fault = "it was not carried out to the end"
        if fault is not None:
            return Decision(on=False, why=f"A trial on {engine.profile.name} went wrong: {fault}.")
        took = time.monotonic() - started
        return Decision(on=True, why=f"A trial on {engine.profile.name} went right in {took:.1f} s.")

    def _tried_out(self, task: asyncio.Task[Decision]) -> None:
        self._deciding = None
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._decide(task.result())
        elif not isinstance(error, LikenessError):
            _log.error("Could not try out partition keys", exc_info=error)

    async def _sweep(self, engine: Engine) -> None:
        """Drops the scratch collections that a crash has left, each once no service can be using it any longer."""
        try:
            for each in sorted(await engine.collections()):
                age = age_of_scratch(self._prefix, each)
                if age is not None and each not in self._own:
                    await asyncio.sleep(_STALE_S - age)
                    await engine.drop(each)
        except LikenessError:
            _log.debug("Could not drop scratch collections; the next start tries again")
