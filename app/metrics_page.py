"""The page that Prometheus reads: all series of this process, or of all worker processes together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, disable_created_metrics
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from app.metrics_files import living

PLAIN = "text/plain"


class MetricsPage:
    """Writes the page, when asked and not before.

    Args:
        registry: with the series of this process.
        shared: where the worker processes keep theirs; None where there is one process.
    """

    def __init__(self, registry: CollectorRegistry, shared: Path | None = None) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # when each series began: as many lines again, which Prometheus does not use
        self._samplers: list[Callable[[], None]] = []
        self._shared = shared
        if shared is None:
            self._registry = registry
            ProcessCollector(registry=registry)
        else:
            self._registry = CollectorRegistry()
            MultiProcessCollector(self._registry, path=str(shared))  # type: ignore[no-untyped-call]
            self._registry.register(_Processes(shared))

    def before_each(self, sampler: Callable[[], None]) -> None:
        """Calls ``sampler`` before each page: it sets the gauges of what is known without asking anybody."""
        self._samplers.append(sampler)

    def sample(self) -> None:
        """Sets the gauges that change without a call."""
        for sampler in self._samplers:
            sampler()

    @asynccontextmanager
    async def kept_sampled(self, interval_s: float = 5.0) -> AsyncIterator[None]:
        """Samples again and again where several processes answer: another one of them may be asked for the page."""

        async def again_and_again() -> None:
            while True:
                self.sample()
                await asyncio.sleep(interval_s)

        if self._shared is None:
            yield
            return
        task = asyncio.create_task(again_and_again())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def text(self, accept: str) -> tuple[bytes, str]:
        """The page and its media type.

        Args:
            accept: the formats that the reader takes, as in HTTP.
        """
        self.sample()
        encode, kind = choose_encoder(accept)
        # Thousands of lines take some milliseconds, in which requests go on.
        return await asyncio.to_thread(self._encoded, encode), kind

    def _encoded(self, encode: Callable[[CollectorRegistry], bytes]) -> bytes:
        if self._shared is not None:
            _forget_dead(self._shared)
        return encode(self._registry)


class _Processes(Collector):
    """CPU time, memory and files of all worker processes together, by the names that one process has for them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Adds up what each of them uses."""
        found: dict[str, Metric] = {}
        pids = {path.stem.rpartition("_")[2] for path in self._folder.glob("counter_*.db")}
        for pid in filter(living, pids):
            for metric in ProcessCollector(pid=lambda pid=pid: pid, registry=None).collect():  # type: ignore[misc]
                known = found.setdefault(metric.name, metric)
                if known is not metric:
                    together = min if "start_time" in metric.name else sum
                    value = together((known.samples[0].value, metric.samples[0].value))
                    known.samples[0] = known.samples[0]._replace(value=value)
        return found.values()


def _forget_dead(folder: Path) -> None:
    """Drops what processes that are gone had at work; what they counted stays counted."""
    for path in folder.glob("gauge_live*.db"):
        if not living(path.stem.rpartition("_")[2]):
            path.unlink(missing_ok=True)
