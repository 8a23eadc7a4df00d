"""Traces of requests, sent to a collector in the background (OpenTelemetry's protocol over HTTP)."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from app import __version__

# Spans that wait for the collector; more are dropped.
_QUEUE = 8192
_BATCH = 512
_EVERY_MS = 2000
# Seconds for one delivery, tries in vain included; and at shutdown for a collector that does not answer.
_DELIVERY_TIMEOUT_S = 10
_LAST_TRY_S = 1.0
_PROPAGATOR = TraceContextTextMapPropagator()


class _Deliveries(SpanExporter):
    """Tells the log once when the collector stops answering, and once when it answers again."""

    def __init__(self, exporter: SpanExporter, url: str) -> None:
        self._exporter = exporter
        self._url = url
        self._log = logging.getLogger("likeness.traces")
        self._lost = 0
        self._since: float | None = None
        self._closed = False

    @property
    def fail(self) -> bool:
        since = self._since
        return self._lost > 0 or (since is not None and time.monotonic() - since > _LAST_TRY_S)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._since = time.monotonic()
        result = self._exporter.export(spans)
        self._since = None
        if result is not SpanExportResult.SUCCESS:
            if not self._lost and not self._closed:  # a thread that is left behind at the end says nothing
                self._log.warning("Traces cannot be delivered to %s: they are lost until it takes them", self._url)
            self._lost += len(spans)
        elif self._lost:
            self._log.warning("Traces are delivered again; %d spans were lost", self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        if not self._closed:
            self._closed = True
            self._exporter.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._exporter.force_flush(timeout_millis)


class RequestTrace:
    """The trace of one request: a span for it, and one for each stretch of a stage and each call inside it."""

    def __init__(self, tracer: Tracer, span: Span) -> None:
        self._tracer = tracer
        self._span = span
        self._context = set_span_in_context(span, Context())
        self._depth: Counter[str] = Counter()
        self._stages: dict[str, Span] = {}

    def began(self, stage: str) -> None:
        """An image or a face of the request entered a stage; those in it together share a span."""
        self._depth[stage] += 1
        if self._depth[stage] == 1:
            self._stages[stage] = self._tracer.start_span(stage, self._context)

    def ended(self, stage: str) -> None:
        """One left it."""
        self._depth[stage] -= 1
        if not self._depth[stage]:
            self._stages.pop(stage).end()

    @contextmanager
    def call(self, name: str, attributes: Mapping[str, str | int]) -> Iterator[dict[str, str]]:
        """As ``app.traces.Trace`` says."""
        span = self._tracer.start_span(name, self._context, kind=SpanKind.CLIENT, attributes=attributes)
        headers: dict[str, str] = {}
        _PROPAGATOR.inject(headers, set_span_in_context(span, Context()))
        try:
            yield headers
        except BaseException as error:
            # Its kind alone: what it says may hold anything.
            span.set_status(StatusCode.ERROR)
            span.set_attribute("error.type", type(error).__name__)
            raise
        finally:
            span.end()

    def end(self, status: int) -> None:
        """The request was answered."""
        self._span.set_attribute("http.response.status_code", status)
        if status >= 500:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()


class Traces:
    """Begins traces, and delivers the sampled ones in the background.

    Args:
        url: the collector's endpoint; without a path it is that of the protocol, ``/v1/traces``.
        ratio: share of the requests that are traced; of those whose client traces them, all that the client samples.
        timeout: seconds that delivering the rest may take at shutdown.
    """

    def __init__(self, url: str, *, ratio: float, timeout: float) -> None:
        # They tell every try in vain; one line will do, and it is ours.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        endpoint = url if urlsplit(url).path.strip("/") else f"{url.rstrip('/')}/v1/traces"
        self._timeout = timeout
        self._deliveries = _Deliveries(OTLPSpanExporter(endpoint=endpoint, timeout=_DELIVERY_TIMEOUT_S), endpoint)
        self._provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(ratio)),
            resource=Resource.create({SERVICE_NAME: "likeness", SERVICE_VERSION: __version__}),
            shutdown_on_exit=False,
        )
        self._tracer = self._provider.get_tracer("likeness", __version__)

    async def __aenter__(self) -> Self:
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._deliveries,
                max_queue_size=_QUEUE,
                max_export_batch_size=_BATCH,
                schedule_delay_millis=_EVERY_MS,
            )
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Its own shutdown waits for up to 30 seconds.
        ending = threading.Thread(target=self._provider.shutdown, name="likeness-traces", daemon=True)
        ending.start()
        deadline = time.monotonic() + (min(_LAST_TRY_S, self._timeout) if self._deliveries.fail else self._timeout)
        while ending.is_alive() and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        self._deliveries.shutdown()

    def begin(self, method: str, route: str, headers: Mapping[str, str]) -> RequestTrace:
        """Begins the trace of a request, or goes on with its client's (W3C Trace Context).

        Args:
            method: of HTTP.
            route: its path, with the names of parameters instead of their values.
            headers: its headers, ``traceparent`` and ``tracestate`` among them where the client traces it.
        """
        parent = _PROPAGATOR.extract(
            {name: headers[name] for name in ("traceparent", "tracestate") if name in headers}, Context()
        )
        attributes = {"http.request.method": method, "http.route": route}
        span = self._tracer.start_span(f"{method} {route}", parent, kind=SpanKind.SERVER, attributes=attributes)
        return RequestTrace(self._tracer, span)
