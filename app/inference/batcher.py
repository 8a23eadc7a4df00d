"""A micro-batcher: items of concurrent requests share calls to one model."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.errors import Closing, LikenessError, Limit, Overloaded
from app.inference.cores import Gathering
from app.metrics import BatchMetrics, InferenceMetrics

Outputs = dict[str, NDArray[Any]]

# Items that fit into a batch from which on it pays to wait for them: two of them save too little.
_WORTH_WAITING: Final = 4


@dataclass(slots=True, eq=False)
class _Entry:
    item: NDArray[Any]
    answer: asyncio.Future[Outputs]
    since: float
    context: Context = field(default_factory=copy_context)


class MicroBatcher:
    """Collects single items into batches of equal shape.

    An idle machine gets its batch at once, and while as many batches as allowed are at work, what arrives gathers into
    the next one. So batches grow with the load and cost nothing without it.

    Args:
        run: runs one batch, ``[n, …]`` in, outputs of first axis ``n`` out.
        max_batch: most items in one batch.
        max_waiting: most items that may wait; one more is refused at once.
        in_flight: tells the most batches at work at the same time, which changes with the servers.
        instances: batches that make headway at the same time: what waits is spread over those that are idle.
        max_values: most numbers in one batch of several items; 0: any. Large items that save no time together then
            go alone, and small ones of the same model share calls.
        gathering: when a batch that is not full waits for more items; None: never.
        metrics: told of each batch.
    """

    def __init__(
        self,
        run: Callable[[NDArray[Any]], Awaitable[Outputs]],
        *,
        max_batch: int,
        max_waiting: int,
        in_flight: Callable[[], int],
        instances: int = 1,
        max_values: int = 0,
        gathering: Gathering | None = None,
        metrics: BatchMetrics | None = None,
    ) -> None:
        self._run = run
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._in_flight = in_flight
        self._metrics = metrics or InferenceMetrics.unseen().batches("")
        self._instances = instances
        self._max_values = max_values
        self._gathering = gathering
        self._gathered: asyncio.TimerHandle | None = None
        # Insertion order of the keys is the order in which their oldest items came.
        self._queues: dict[tuple[Any, ...], deque[_Entry]] = {}
        self._waiting = 0
        self._running: set[asyncio.Task[None]] = set()
        self._pump_due = False
        self._closing = False
        if gathering is not None:
            gathering.shared.subscribe(self._pump)

    @property
    def waiting(self) -> int:
        """Items that no batch has taken yet."""
        return self._waiting

    async def submit(self, item: NDArray[Any]) -> Outputs:
        """Runs one item in some batch.

        Args:
            item: the array without a batch axis.

        Returns:
            the outputs of this item, without a batch axis.

        Raises:
            Overloaded: the queue is full.
            Closing: the batcher is closed.
            LikenessError: whatever the batch failed with.
        """
        if self._closing:
            raise Closing
        if self._waiting >= self._max_waiting:
            message = "Too many images are waiting for the models: try again in a moment."
            raise Overloaded(message, limit=Limit.MODEL_QUEUE)
        loop = asyncio.get_running_loop()
        entry = _Entry(item, loop.create_future(), perf_counter())
        key = (item.shape, item.dtype.str)
        self._queues.setdefault(key, deque()).append(entry)
        self._waiting += 1
        if not self._pump_due:
            # Not at once: items that are submitted in the same turn of the loop shall share a batch.
            self._pump_due = True
            loop.call_soon(self._pump)
        try:
            return await entry.answer
        except asyncio.CancelledError:
            self._drop(key, entry)
            raise

    async def close(self, timeout: float) -> None:
        """Refuses what waits, lets batches at work finish for ``timeout`` seconds, then cancels them."""
        if self._gathering is not None and not self._closing:
            self._gathering.shared.unsubscribe(self._pump)
        if self._gathered is not None:
            self._gathered.cancel()
        self._closing = True
        for queue in self._queues.values():
            for entry in queue:
                if not entry.answer.done():
                    entry.answer.set_exception(Closing())
        self._queues.clear()
        self._waiting = 0
        if self._running:
            _, pending = await asyncio.wait(self._running, timeout=timeout)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    def _drop(self, key: tuple[Any, ...], entry: _Entry) -> None:
        queue = self._queues.get(key)
        if queue is None or entry not in queue:
            return  # a batch has taken it, or the batcher was closed
        queue.remove(entry)
        self._waiting -= 1
        if not queue:
            del self._queues[key]

    def _pump(self) -> None:
        self._pump_due = False
        while len(self._running) < self._in_flight():
            key = self._due()
            if key is None:
                break
            queue = self._queues.pop(key)
            batch = [queue.popleft() for _ in range(self._share(queue))]
            if queue:
                self._queues[key] = queue  # at the end: other shapes get their turn first
            self._waiting -= len(batch)
            batch = [entry for entry in batch if not entry.answer.done()]
            if not batch:
                continue
            self._metrics.taken(entry.since for entry in batch)
            # In the trace of the oldest item's request: a call can be part of one trace only.
            task = asyncio.create_task(self._serve(batch), context=batch[0].context)
            self._running.add(task)
            if self._gathering is not None:
                self._gathering.shared.take()
            for entry in batch:
                entry.answer.add_done_callback(partial(_cancel_if_unwanted, task, batch))
            task.add_done_callback(self._finished)

    def _due(self) -> tuple[Any, ...] | None:
        """The shape of the next batch; None where all that waits may wait for more."""
        if self._gathered is not None:
            self._gathered.cancel()
            self._gathered = None
        if self._gathering is None or not self._gathering.pays:
            return next(iter(self._queues), None)
        now, ends = perf_counter(), []
        for key, queue in self._queues.items():
            most, end = self._most(queue), queue[0].since + self._gathering.seconds
            if most < _WORTH_WAITING or len(queue) >= most or end <= now:
                return key
            ends.append(end)
        if ends:
            self._gathered = asyncio.get_running_loop().call_later(min(ends) - now, self._pump)
        return None

    def _share(self, queue: deque[_Entry]) -> int:
        """How many of the items that wait the next batch takes."""
        idle = max(1, self._instances - len(self._running))
        return min(-(-len(queue) // idle), self._most(queue))

    def _most(self, queue: deque[_Entry]) -> int:
        """How many items of that shape go into one batch."""
        if not self._max_values:
            return self._max_batch
        return min(self._max_batch, max(1, self._max_values // queue[0].item.size))

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if self._gathering is not None:
            self._gathering.shared.give_back()  # this model is among those who are told
        else:
            self._pump()

    async def _serve(self, batch: list[_Entry]) -> None:
        try:
            outputs = await self._run(_stacked([entry.item for entry in batch]))
        except asyncio.CancelledError:
            for entry in batch:
                if not entry.answer.done():
                    entry.answer.set_exception(Closing())
            raise
        except LikenessError as error:
            for entry in batch:
                if not entry.answer.done():
                    # One exception each: a shared one would collect the tracebacks of all callers.
                    own = copy.copy(error)
                    own.__cause__ = error.__cause__
                    entry.answer.set_exception(own)
        except Exception as error:
            for entry in batch:
                if not entry.answer.done():
                    entry.answer.set_exception(error)
        else:
            for row, entry in enumerate(batch):
                if not entry.answer.done():
                    entry.answer.set_result({name: array[row] for name, array in outputs.items()})


def _stacked(items: list[NDArray[Any]]) -> NDArray[Any]:
    # A batch of one needs no copy: a new axis is a view.
    return items[0][np.newaxis] if len(items) == 1 else np.stack(items)


def _cancel_if_unwanted(task: asyncio.Task[None], batch: list[_Entry], _: asyncio.Future[Outputs]) -> None:
    """Stops a batch whose callers have all gone."""
    if not task.done() and all(entry.answer.cancelled() for entry in batch):
        task.cancel()
