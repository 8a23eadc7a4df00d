"""Traces: who decides which are made, what Triton is told, and a collector that does not want them."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from app import otlp
from app.config import Settings
from app.errors import OperatorError
from app.inference.client import TritonClient
from app.otlp import RequestTrace, Traces
from app.server import create_app
from app.signals import StopSignals
from app.traces import keep_trace
from tests.collector import Collector
from tests.small_triton import MODEL, SmallTriton

TRACED = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}
NOT_TRACED = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"}


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(otlp, "_EVERY_MS", 20)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector().running() as running:
        yield running


@asynccontextmanager
async def traces(url: str, ratio: float = 1.0) -> AsyncIterator[Traces]:
    async with Traces(url, ratio=ratio, timeout=20) as opened:
        yield opened


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    ("ratio", "headers", "made"),
    [(1, {}, 1), (0, {}, 0), (0, TRACED, 1), (1, NOT_TRACED, 0), (1, {"traceparent": "?"}, 1)],
)
async def test_the_ratio_decides_where_the_client_has_not(
    collector: Collector, ratio: float, headers: dict[str, str], made: int
) -> None:
    async with traces(collector.url, ratio) as opened:
        opened.begin("GET", "/there", headers).end(200)
    # All that was made has come: it is delivered before the end.
    assert [span.name for span in collector.spans] == ["GET /there"] * made


async def test_work_side_by_side_in_a_stage_is_one_span(collector: Collector) -> None:
    async with traces(collector.url) as opened:
        trace = opened.begin("GET", "/there", {})
        for step in (trace.began, trace.began, trace.ended, trace.ended, trace.began, trace.ended):
            step("fetch")
        trace.end(503)
    assert sorted(span.name for span in collector.spans) == ["GET /there", "fetch", "fetch"]
    [root] = [span for span in collector.spans if span.name == "GET /there"]
    assert root.status.code == root.status.STATUS_CODE_ERROR


@pytest.mark.parametrize("way", ["grpc", "http"])
async def test_triton_is_told_of_the_trace_by_a_header(
    way: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SmallTriton, "speaks_http", way == "http")
    async with SmallTriton() as triton, TritonClient(triton.both_addresses, timeout=20) as client:
        await client.infer(MODEL, {"IN": np.array([[1]])}, ["DOUBLE"])
        assert "traceparent" not in triton.headers
        async with traces(collector.url) as opened:
            trace: RequestTrace = opened.begin("POST", "/there", TRACED)
            keep_trace(trace)
            await client.infer(MODEL, {"IN": np.array([[1], [2]])}, ["DOUBLE"])
            keep_trace(None)
            trace.end(200)
    [call] = [span for span in collector.spans if span.name == f"triton {MODEL}"]
    assert triton.headers["traceparent"] == f"00-4bf92f3577b34da6a3ce929d0e0e4736-{call.span_id.hex()}-01"


async def test_a_collector_that_refuses_is_told_of_once_until_it_takes_traces_again(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    collector.refuses = True
    async with traces(collector.url) as opened:
        opened.begin("GET", "/there", {}).end(200)
        await until(lambda: len(collector.deliveries) == 1)
        opened.begin("GET", "/there", {}).end(200)
        await until(lambda: len(collector.deliveries) == 2)
        collector.refuses = False
        opened.begin("GET", "/there", {}).end(200)
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        f"Traces cannot be delivered to {collector.url}/v1/traces: they are lost until it takes them",
        "Traces are delivered again; 2 spans were lost",
    ]


async def test_spans_that_nobody_takes_are_dropped_beyond_a_bound_and_closing_does_not_wait_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(otlp, "_QUEUE", otlp._BATCH)
    with Collector().running() as gone:
        pass
    async with Traces(gone.url, ratio=1, timeout=0.1) as opened:
        for _ in range(4 * otlp._QUEUE):
            opened.begin("GET", "/there", {}).end(200)
        [processor] = opened._provider._active_span_processor._span_processors
        assert len(processor._batch_processor._queue) <= otlp._QUEUE  # type: ignore[attr-defined]


def test_traces_without_their_packages_are_refused_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in ("app.api.tracing", "app.otlp"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    settings = Settings(traces_url="http://127.0.0.1:4318")
    with pytest.raises(OperatorError, match=r"packages for traces are missing: run `\.venv/bin/pip install -e"):
        create_app(settings, StopSignals(), name="untraced")
