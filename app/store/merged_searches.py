"""Concurrent searches of one group as one call of many queries, which an engine answers at a fraction of the cost."""

from __future__ import annotations

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.errors import BackendUnavailable
from app.store.profile import EngineProfile
from app.store.records import Metric

Measured = list[tuple[float, dict[str, Any]]]
"""Hits of one query: the engine's measure and the row's fields, best first."""


@dataclass(frozen=True, slots=True)
class SearchTerms:
    """What searches must have in common to be one call.

    Attributes:
        size: most hits of each query.
        whole: whether hits are whole rows, or ids only.
        expression: which rows; empty for all.
    """

    size: int
    whole: bool
    expression: str


Ask = Callable[[SearchTerms, NDArray[np.float32], float], Awaitable[list[Measured]]]
"""Calls the engine: terms, float32 [Q, D], and the bound beyond which hits may be left out."""


@dataclass(slots=True, eq=False)
class _Caller:
    """A search that waits for its part of a call."""

    vectors: NDArray[np.float32]
    bound: float
    answer: asyncio.Future[list[Measured]]
    context: contextvars.Context = field(default_factory=contextvars.copy_context)


@dataclass(slots=True, eq=False)
class _Lane:
    """Searches of the same terms: the calls under way, whether another is about to begin, and who waits for one."""

    under_way: int = 0
    due: bool = False
    waiting: deque[_Caller] = field(default_factory=deque)


class MergedSearches:
    """Searches of one group.

    A search goes at once where no other of its terms is under way, with those that come in the same turn of the loop:
    faces that shared a call to their model come together. Those that come meanwhile wait, and go together as soon as
    one ends. Each is answered by a call that began after it came, so it sees every write answered before; and
    its caller holds the group's lock until its answer is there, so no write runs beside a call that somebody waits for.
    A waiting writer lets no further reader in, so that it waits only for those that were there before it.

    A caller that is cancelled leaves the others be; a call that nobody waits for any longer is cancelled. Where a call
    fails because Milvus does not answer, all its callers are told; where it was refused, each is sent again by itself.

    Args:
        ask: calls the engine.
        metric: of the group: a wider bound is a larger distance, or a lower similarity.
        profile: of the engine: how large a call may be, and how many may be under way at the same time.
    """

    def __init__(self, ask: Ask, metric: Metric, profile: EngineProfile) -> None:
        self._ask = ask
        self._widest = max if metric is Metric.L2 else min
        self._profile = profile
        self._lanes: dict[SearchTerms, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def search(self, terms: SearchTerms, vectors: NDArray[np.float32], bound: float) -> list[Measured]:
        """Nearest rows of each vector; see ``Engine.search``. The caller holds the group's lock."""
        lane = self._lanes.setdefault(terms, _Lane())
        loop = asyncio.get_running_loop()
        caller = _Caller(vectors, bound, loop.create_future())
        lane.waiting.append(caller)
        if lane.under_way < self._profile.searches_at_once and not lane.due:
            lane.due = True
            loop.call_soon(self._begin, terms, lane)
        try:
            return await caller.answer
        finally:
            if caller.answer.done() and not caller.answer.cancelled():
                caller.answer.exception()  # marks it as seen, where the cancellation came in the same moment

    def _begin(self, terms: SearchTerms, lane: _Lane) -> None:
        """Starts as many calls as there may be, and spreads who waits over them."""
        lane.due = False
        while (free := self._profile.searches_at_once - lane.under_way) > 0:
            batch = self._next_batch(terms, lane, most=-(-len(lane.waiting) // free))
            if not batch:
                break
            lane.under_way += 1
            self._start(terms, lane, batch)
        self._forget_if_idle(terms, lane)

    def _go_on(self, terms: SearchTerms, lane: _Lane) -> None:
        """Starts the next call in the place of one that has ended."""
        batch = self._next_batch(terms, lane, most=len(lane.waiting))
        if batch:
            self._start(terms, lane, batch)
            return
        lane.under_way -= 1
        self._forget_if_idle(terms, lane)

    def _forget_if_idle(self, terms: SearchTerms, lane: _Lane) -> None:
        if not (lane.under_way or lane.due or lane.waiting):
            self._lanes.pop(terms, None)

    def _start(self, terms: SearchTerms, lane: _Lane, batch: list[_Caller]) -> None:
        # Several are in no request's context: what one carries, such as its stopwatch, is not that of the others.
        context = batch[0].context if len(batch) == 1 else contextvars.Context()
        task = asyncio.get_running_loop().create_task(self._answer(terms, batch), context=context)
        self._tasks.add(task)

        def ended(_: asyncio.Task[None]) -> None:  # also where the task was cancelled before it began
            self._tasks.discard(task)
            for caller in batch:
                caller.answer.cancel()
            self._go_on(terms, lane)

        def left(_: asyncio.Future[list[Measured]]) -> None:
            if all(caller.answer.done() for caller in batch):
                task.cancel()

        task.add_done_callback(ended)
        for caller in batch:
            caller.answer.add_done_callback(left)

    async def _answer(self, terms: SearchTerms, batch: list[_Caller]) -> None:
        vectors = np.concatenate([caller.vectors for caller in batch])
        try:
            found = await self._ask(terms, vectors, self._widest(caller.bound for caller in batch))
        except Exception as error:
            await self._failed(terms, batch, error)
            return
        start = 0
        for caller in batch:
            end = start + len(caller.vectors)
            if not caller.answer.done():
                caller.answer.set_result(found[start:end])
            start = end

    async def _failed(self, terms: SearchTerms, batch: list[_Caller], error: Exception) -> None:
        away = isinstance(error, BackendUnavailable)
        for caller in batch:
            if caller.answer.done():
                continue
            if len(batch) == 1:
                caller.answer.set_exception(error)
            elif away:
                told = BackendUnavailable(str(error))  # one for each: they are raised in several tasks
                told.__cause__ = error
                caller.answer.set_exception(told)
            else:
                await self._answer(terms, [caller])

    def _next_batch(self, terms: SearchTerms, lane: _Lane, *, most: int) -> list[_Caller]:
        batch: list[_Caller] = []
        hits = self._profile.rows_per_answer if terms.whole else self._profile.ids_per_answer
        queries = min(self._profile.queries_per_call, hits // terms.size)
        while lane.waiting and len(batch) < most:
            caller = lane.waiting[0]
            if not caller.answer.done():
                if batch and queries < len(caller.vectors):
                    break
                queries -= len(caller.vectors)
                batch.append(caller)
            lane.waiting.popleft()
        return batch
