"""Series: named as Prometheus wants them, documented completely, right for one process and for several."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from app.errors import BackendUnavailable
from app.metrics import FetchMetrics, Metrics, outcome_of
from app.metrics_files import metrics_files, shared_folder
from app.metrics_page import MetricsPage

ROOT = Path(__file__).resolve().parents[2]
SERIES = Metrics("1").series
VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

# A worker that counts what its argument says, sets what is at work, tells that it has, and stays until its input ends.
WORKER = """
import sys
from app.metrics import Metrics
metrics = Metrics("1")
metrics.requests.ended("/v1/jobs", "GET", 200, float(sys.argv[1]))
metrics.requests.in_flight.inc(3)
metrics.store.groups("face", number=2, counted=1, rows=int(sys.argv[2]))
print("counted", flush=True)
sys.stdin.read()
"""
READER = """
import asyncio
from pathlib import Path
from prometheus_client import CollectorRegistry
from app.metrics_files import shared_folder
from app.metrics_page import MetricsPage
print(asyncio.run(MetricsPage(CollectorRegistry(), shared_folder()).text(""))[0].decode())
"""


def values(page: str) -> dict[str, float]:
    """Each sample's value by its name and the values of its labels, in the order of the labels' names."""
    return {
        " ".join([sample.name, *(value for _, value in sorted(sample.labels.items()))]): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_every_series_is_in_the_documentation_and_nothing_else_is() -> None:
    text = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    rows = [
        f"| `{each.name}` | {each.kind} | {', '.join(f'`{label}`' for label in each.labels) or '–'} | {each.doc} |"
        for each in SERIES
    ]
    assert [row for row in rows if row not in text] == []
    assert set(re.findall(r"^\| `(likeness_\w+)`", text, re.MULTILINE)) == {each.name for each in SERIES}


def test_names_units_and_labels_follow_the_conventions() -> None:
    for each in SERIES:
        assert re.fullmatch(r"likeness(_[a-z0-9]+)+", each.name)
        assert (each.kind == "counter") == each.name.endswith("_total"), each.name
        assert not re.search(r"_(ms|milliseconds|micros|kb|mb|percent)(_|$)", each.name), each.name
        assert each.kind != "histogram" or each.name.endswith(("_seconds", "_bytes", "_items")), each.name
        assert not {"id", "group", "name", "url", "uri", "path", "tag"} & set(each.labels), each.name
        assert each.doc.endswith(".")
    assert len({each.name for each in SERIES}) == len(SERIES)


async def test_a_call_counts_by_what_became_of_it() -> None:
    registry = CollectorRegistry()
    fetches = Metrics("1", registry).fetch
    with fetches.calls.one("url"):
        fetches.fetched("url", 7)
    for error in (BackendUnavailable("Gone."), asyncio.CancelledError(), ValueError()):
        with pytest.raises(type(error)), fetches.calls.one("url"):
            raise error
    page = values((await MetricsPage(registry).text(""))[0].decode())
    found = {outcome: page[f"likeness_fetches_total {outcome} url"] for outcome in ("ok", "cancelled")}
    assert found == {"ok": 1, "cancelled": 1}
    assert page["likeness_fetches_total backend_unavailable url"] == 1
    assert page["likeness_fetches_total internal_error url"] == 1
    assert page["likeness_fetched_bytes_total url"] == 7
    assert page["likeness_fetch_duration_seconds_count url"] == 4
    assert page["process_resident_memory_bytes"] > 1e6
    assert outcome_of(ValueError()) == "internal_error"


async def test_gauges_are_read_when_the_page_is_written() -> None:
    registry = CollectorRegistry()
    metrics, page, waiting = Metrics("1", registry), MetricsPage(registry), [5]
    page.before_each(lambda: metrics.inference.queue("face_detector", items=waiting[0], limit=9))
    for waiting[0] in (5, 2):
        shown = values((await page.text(""))[0].decode())
        assert shown["likeness_model_queue_items face_detector"] == waiting[0]


async def test_a_model_that_was_replaced_is_no_longer_the_one_that_serves() -> None:
    registry = CollectorRegistry()
    metrics = Metrics("1", registry)
    for model_id in ("old", "old", "new"):
        metrics.inference.served("face_embedder", model_id)
    shown = values((await MetricsPage(registry).text(""))[0].decode())
    assert shown["likeness_model_info face_embedder old"] == 0
    assert shown["likeness_model_info face_embedder new"] == 1


async def test_the_page_comes_in_the_format_that_is_asked_for() -> None:
    page = MetricsPage(CollectorRegistry())
    assert (await page.text(""))[1].startswith("text/plain; version=0.0.4")
    text, kind = await page.text("application/openmetrics-text; version=1.0.0,text/plain;q=0.5")
    assert kind.startswith("application/openmetrics-text; version=1.0.0")
    assert text.endswith(b"# EOF\n")


async def test_series_that_nobody_reads_are_nobodys() -> None:
    registry = CollectorRegistry()
    Metrics("1", registry)
    FetchMetrics.unseen().fetched("url", 7)
    assert values((await MetricsPage(registry).text(""))[0].decode())["likeness_fetched_bytes_total url"] == 0


def test_several_processes_answer_as_one_and_a_dead_one_has_nothing_at_work(tmp_path: Path) -> None:
    def page() -> dict[str, float]:
        found = subprocess.run([sys.executable, "-c", READER], cwd=ROOT, capture_output=True, text=True, check=True)
        return values(found.stdout)

    with metrics_files(tmp_path, workers=2):
        folder = shared_folder()
        assert folder is not None
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            for arguments in (("0.02", "10"), ("0.2", "30"))
        ]
        try:
            for worker in workers:
                assert worker.stdout is not None
                assert worker.stdout.readline() == b"counted\n"
            both = page()
            assert both["likeness_http_requests_total GET /v1/jobs 200"] == 2
            assert both["likeness_http_request_duration_seconds_bucket 0.025 GET /v1/jobs"] == 1
            assert both["likeness_http_request_duration_seconds_sum GET /v1/jobs"] == pytest.approx(0.22)
            assert both["likeness_http_requests_in_flight"] == 6
            assert both["likeness_group_rows face"] == 30
            assert both[f"likeness_build_info {sys.version.split()[0]} 1"] == 1
            workers[1].kill()
            workers[1].wait()
            one = page()
            assert one["likeness_http_requests_total GET /v1/jobs 200"] == 2
            assert one["likeness_http_requests_in_flight"] == 3
            assert one["likeness_group_rows face"] == 10
            assert one["process_resident_memory_bytes"] < both["process_resident_memory_bytes"]
        finally:
            for worker in workers:
                worker.kill()
                worker.communicate()
    assert not folder.exists()
    assert shared_folder() is None


def test_one_process_keeps_its_numbers_in_memory_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with metrics_files(tmp_path / "run", workers=1):
        assert shared_folder() is None
    assert not (tmp_path / "run").exists()


def test_a_start_removes_what_a_killed_one_left_and_nothing_of_one_that_runs(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, living = tmp_path / f"metrics-{gone.pid}", tmp_path / f"metrics-{os.getppid()}"
    for folder in (dead, living):
        folder.mkdir()
    with metrics_files(tmp_path, workers=3):
        assert sorted(tmp_path.iterdir()) == sorted([living, tmp_path / f"metrics-{os.getpid()}"])
    assert list(tmp_path.iterdir()) == [living]
