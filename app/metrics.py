"""Every Prometheus series of the service, grouped by the part that tells it.

Names and units follow https://prometheus.io/docs/practices/naming/. Labels have few values, known beforehand or as many
as there are routes and models: never an id, the name of a group or an address.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from time import perf_counter
from typing import Literal, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from app.errors import LikenessError, Limit
from app.stages import Stage, Stopwatch, stopwatch

_REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_CALL_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_ITEMS = (1, 2, 4, 8, 16, 32, 64)

# How values of several worker processes become one.
_Across = Literal["livesum", "livemax"]


class DecoderLoss(StrEnum):
    """Why a process that decodes images was lost."""

    CRASH = "crash"
    KILLED = "killed"
    TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Series:
    """One series, for the documentation."""

    name: str
    kind: str
    labels: tuple[str, ...]
    doc: str


class SeriesBook:
    """Makes series in a registry and keeps a list of them.

    Args:
        registry: where they go; one of its own that nobody reads where None.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self._registry = registry or CollectorRegistry()
        self.series: list[Series] = []

    def counter(self, name: str, doc: str, labels: Sequence[str] = ()) -> Counter:
        """A number that only grows."""
        self.series.append(Series(name, "counter", tuple(labels), doc))
        return Counter(name, doc, labels, registry=self._registry)

    def gauge(self, name: str, doc: str, labels: Sequence[str] = (), *, across: _Across = "livesum") -> Gauge:
        """A number that goes up and down; ``across`` says how those of several processes are put together."""
        self.series.append(Series(name, "gauge", tuple(labels), doc))
        return Gauge(name, doc, labels, registry=self._registry, multiprocess_mode=across)

    def histogram(self, name: str, doc: str, labels: Sequence[str] = (), *, buckets: Sequence[float]) -> Histogram:
        """How often a value fell under each of some bounds."""
        self.series.append(Series(name, "histogram", tuple(labels), doc))
        return Histogram(name, doc, labels, registry=self._registry, buckets=buckets)


def outcome_of(error: BaseException) -> str:
    """What became of something that ended with an error: the error's machine code, or ``cancelled``."""
    if isinstance(error, LikenessError):
        return error.code
    return "cancelled" if isinstance(error, asyncio.CancelledError) else LikenessError.code


class Calls:
    """Counts calls by outcome and times them.

    Args:
        total: how many there were, with ``outcome`` as its last label.
        seconds: how long they took, with the other labels.
        outcome: names that of a call that raised; one that did not is ``ok``.
    """

    def __init__(
        self, total: Counter, seconds: Histogram, outcome: Callable[[BaseException], str] = outcome_of
    ) -> None:
        self._total = total
        self._seconds = seconds
        self._outcome = outcome

    @contextmanager
    def one(self, *labels: str) -> Iterator[None]:
        """The block is one call."""
        began = perf_counter()
        outcome = "ok"
        try:
            yield
        except BaseException as error:
            outcome = self._outcome(error)
            raise
        finally:
            (self._seconds.labels(*labels) if labels else self._seconds).observe(perf_counter() - began)
            self._total.labels(*labels, outcome).inc()


class _Part:
    """Series of one part of the service."""

    def __init__(self, book: SeriesBook) -> None:
        """Makes them."""

    @classmethod
    def unseen(cls) -> Self:
        """Series that nobody reads: for a part that is used alone."""
        return cls(SeriesBook())


class RequestMetrics(_Part):
    """What the API tells of requests."""

    def __init__(self, book: SeriesBook) -> None:
        self._total = book.counter(
            "likeness_http_requests_total", "Requests that ended.", ["route", "method", "status"]
        )
        self._seconds = book.histogram(
            "likeness_http_request_duration_seconds",
            "Time from a request's head to the end of its answer.",
            ["route", "method"],
            buckets=_REQUEST_SECONDS,
        )
        self.in_flight = book.gauge("likeness_http_requests_in_flight", "Requests at work at this moment.")
        self._errors = book.counter(
            "likeness_http_errors_total", "Answers that were errors, by their machine code.", ["code"]
        )
        self._rejected = book.counter(
            "likeness_http_rejected_total", "Requests refused with 429, by the limit that was reached.", ["reason"]
        )
        self._known: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        for limit in Limit:
            self._rejected.labels(limit.value)

    def ended(self, route: str, method: str, status: int, seconds: float) -> None:
        """A request ended; ``route`` is the template of its path."""
        found = self._known.get((route, method, status))
        if found is None:
            found = (self._total.labels(route, method, status), self._seconds.labels(route, method))
            self._known[route, method, status] = found
        found[0].inc()
        found[1].observe(seconds)

    def error(self, code: str) -> None:
        """A request was answered with an error."""
        self._errors.labels(code).inc()

    def rejected(self, reason: Limit) -> None:
        """A request was refused, as a limit was reached."""
        self._rejected.labels(reason.value).inc()


class StageMetrics(_Part):
    """Where the time of requests, and of images of imports, goes."""

    def __init__(self, book: SeriesBook) -> None:
        seconds = book.histogram(
            "likeness_stage_duration_seconds",
            "Time that one request, or one image of an import, spent in a stage; waiting for a place counts.",
            ["stage"],
            buckets=_REQUEST_SECONDS,
        )
        self._seconds = {stage: seconds.labels(stage.value) for stage in Stage}

    @contextmanager
    def stopwatch(self) -> Iterator[Stopwatch]:
        """Measures the stages of all that is done inside the block, its tasks included."""
        with stopwatch() as watch:
            try:
                yield watch
            finally:
                for stage, milliseconds in watch.milliseconds.items():
                    self._seconds[stage].observe(milliseconds / 1000)


class BatchMetrics:
    """What the micro-batcher of one model tells."""

    def __init__(self, items: Histogram, wait: Histogram) -> None:
        self._items = items
        self._wait = wait

    def taken(self, waited_since: Iterable[float]) -> None:
        """A batch was taken, of items that had waited since these moments of ``time.perf_counter``."""
        now = perf_counter()
        number = 0
        for since in waited_since:
            self._wait.observe(now - since)
            number += 1
        self._items.observe(number)


class InferenceMetrics(_Part):
    """What is told of models: their batches and the calls to Triton."""

    def __init__(self, book: SeriesBook) -> None:
        self._items = book.histogram(
            "likeness_model_batch_items", "Items in one batch that was sent to Triton.", ["model"], buckets=_ITEMS
        )
        self._wait = book.histogram(
            "likeness_model_queue_wait_seconds",
            "Time that an item waited until a batch took it.",
            ["model"],
            buckets=_CALL_SECONDS,
        )
        self._queued = book.gauge("likeness_model_queue_items", "Items that no batch has taken yet.", ["model"])
        self._limit = book.gauge("likeness_model_queue_limit_items", "Items that may wait; more is a 429.", ["model"])
        self.calls = Calls(
            book.counter(
                "likeness_triton_requests_total",
                "Batches sent to Triton, by what became of them.",
                ["model", "outcome"],
            ),
            book.histogram(
                "likeness_triton_request_duration_seconds",
                "Time that Triton took for a batch, the way there and back included.",
                ["model"],
                buckets=_CALL_SECONDS,
            ),
        )
        self._info = book.gauge(
            "likeness_model_info",
            "1 for the network and weights that serve a model now, 0 for those before.",
            ["model", "model_id"],
            across="livemax",
        )
        self._served: dict[str, str] = {}

    def batches(self, model: str) -> BatchMetrics:
        """Those of one model."""
        return BatchMetrics(self._items.labels(model), self._wait.labels(model))

    def queue(self, model: str, *, items: int, limit: int) -> None:
        """So many items wait for a model at this moment."""
        self._queued.labels(model).set(items)
        self._limit.labels(model).set(limit)

    def served(self, model: str, model_id: str) -> None:
        """This network with these weights serves a model from now on."""
        before = self._served.get(model)
        if before != model_id:
            if before is not None:
                self._info.labels(model, before).set(0)
            self._info.labels(model, model_id).set(1)
            self._served[model] = model_id


class StoreMetrics(_Part):
    """What the store tells of Milvus and of groups."""

    def __init__(self, book: SeriesBook) -> None:
        self.total = book.counter(
            "likeness_milvus_requests_total", "Calls to Milvus, by what became of them.", ["operation", "outcome"]
        )
        self.seconds = book.histogram(
            "likeness_milvus_request_duration_seconds",
            "Time that a call to Milvus took, its retries included.",
            ["operation"],
            buckets=_CALL_SECONDS,
        )
        self._groups = book.gauge("likeness_groups", "Groups.", ["family"], across="livemax")
        self._counted = book.gauge(
            "likeness_groups_counted",
            "Groups whose rows have been counted since the start.",
            ["family"],
            across="livemax",
        )
        self._rows = book.gauge(
            "likeness_group_rows", "Rows of the groups that have been counted.", ["family"], across="livemax"
        )

    def groups(self, family: str, *, number: int, counted: int, rows: int) -> None:
        """So many groups there are, of which so many have been counted, and these have so many rows."""
        self._groups.labels(family).set(number)
        self._counted.labels(family).set(counted)
        self._rows.labels(family).set(rows)


class FetchMetrics(_Part):
    """What is told of images on their way in."""

    def __init__(self, book: SeriesBook) -> None:
        total = book.counter(
            "likeness_fetches_total",
            "Images fetched, by how (`url`, `data`) and by what became of it.",
            ["source", "outcome"],
        )
        seconds = book.histogram(
            "likeness_fetch_duration_seconds", "Time that fetching an image took.", ["source"], buckets=_REQUEST_SECONDS
        )
        self.calls = Calls(total, seconds)
        self._bytes = book.counter("likeness_fetched_bytes_total", "Bytes of images fetched.", ["source"])
        for source in ("url", "data"):
            total.labels(source, "ok")
            self._bytes.labels(source)

    def fetched(self, source: str, size: int) -> None:
        """An image of so many bytes came."""
        self._bytes.labels(source).inc(size)


class DecoderMetrics(_Part):
    """What is told of the processes that decode images."""

    def __init__(self, book: SeriesBook) -> None:
        self._lost = book.counter(
            "likeness_decoders_lost_total",
            "Processes that decode images that ended over one, by why: `crash`, `timeout`, or `killed` from outside.",
            ["reason"],
        )
        for reason in DecoderLoss:
            self._lost.labels(reason.value)

    def lost(self, reason: DecoderLoss) -> None:
        """A process was lost, and another one takes its place."""
        self._lost.labels(reason.value).inc()


class WorkMetrics(_Part):
    """What is told of limits and of work in the background."""

    def __init__(self, book: SeriesBook) -> None:
        self.permits = book.gauge("likeness_permits", "Inference requests that may be at work at the same time.")
        self.permits_used = book.gauge("likeness_permits_used", "Inference requests at work at this moment.")
        self.background = book.gauge("likeness_background_images", "Images of imports at work at this moment.")
        self._memory = book.gauge("likeness_memory_budget_bytes", "Bytes that a budget grants.", ["budget"])
        self._held = book.gauge("likeness_memory_held_bytes", "Bytes of a budget that are held.", ["budget"])
        self._jobs = book.gauge("likeness_jobs", "Imports that are kept, by where they are.", ["state"])
        self._images = book.counter(
            "likeness_job_images_total", "Images of imports that were dealt with, by outcome.", ["outcome"]
        )
        self._images.labels("ok")

    def budget(self, name: str, *, total: int, free: int) -> None:
        """How a budget stands."""
        self._memory.labels(name).set(total)
        self._held.labels(name).set(total - free)

    def jobs(self, states: Mapping[str, int]) -> None:
        """So many imports are in each state."""
        for state, number in states.items():
            self._jobs.labels(state).set(number)

    def image(self, outcome: str) -> None:
        """An image of an import was dealt with."""
        self._images.labels(outcome).inc()


class Metrics:
    """All series of the service.

    Args:
        version: of the service.
        registry: where they go.
    """

    def __init__(self, version: str, registry: CollectorRegistry | None = None) -> None:
        book = SeriesBook(registry)
        self.requests = RequestMetrics(book)
        self.stages = StageMetrics(book)
        self.inference = InferenceMetrics(book)
        self.store = StoreMetrics(book)
        self.fetch = FetchMetrics(book)
        self.decoders = DecoderMetrics(book)
        self.work = WorkMetrics(book)
        build = book.gauge(
            "likeness_build_info", "1; its labels say what runs.", ["version", "python"], across="livemax"
        )
        build.labels(version, platform.python_version()).set(1)
        self.series = tuple(book.series)
