"""An endpoint for traces that decodes what it is sent, in a thread of its own."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.running_service import free_port


class Collector:
    """Takes spans, or refuses them.

    Attributes:
        refuses: whether deliveries are answered with an error.
        deliveries: the bodies that came, as they came.
    """

    def __init__(self) -> None:
        self.refuses = False
        self.deliveries: list[bytes] = []
        self._port = free_port()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def spans(self) -> list[Span]:
        """All spans that came so far."""
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.deliveries]
        return [
            span
            for request in requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @contextmanager
    def running(self) -> Iterator[Self]:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        app = web.Application()
        app.router.add_post("/v1/traces", self._take)
        runner = web.AppRunner(app)

        async def start() -> None:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", self._port).start()

        try:
            asyncio.run_coroutine_threadsafe(start(), loop).result(10)
            yield self
        finally:
            asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        assert request.headers["content-type"] == "application/x-protobuf"
        self.deliveries.append(gzip.decompress(body) if request.headers.get("content-encoding") == "gzip" else body)
        return web.Response(status=400 if self.refuses else 200)


def attributes(span: Span) -> dict[str, str | int]:
    """A span's attributes by name."""
    return {
        pair.key: pair.value.string_value if pair.value.HasField("string_value") else pair.value.int_value
        for pair in span.attributes
    }
