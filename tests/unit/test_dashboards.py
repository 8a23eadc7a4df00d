"""Dashboards and alerts ask for series that there are; the end-to-end test asks a real Prometheus for them."""

from __future__ import annotations

import re

import pytest
import yaml

from app.metrics import Metrics
from tests.promql import ALERTS, PANELS, PROMETHEUS_FOLDER, TRITON_GPU_SERIES, TRITON_SERIES
from tests.running_service import ROOT
from triton.grafana.write_dashboards import FOLDER, dashboards

PROCESS = {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds", "process_max_fds"}
KNOWN = {
    f"{each.name}{part}"
    for each in Metrics("1").series
    for part in (("_bucket", "_sum", "_count") if each.kind == "histogram" else ("",))
}
QUERIES = [*(panel.query for panel in PANELS), *(rule["expr"] for rule in ALERTS.values())]


def series(query: str) -> set[str]:
    """The names of series in a query."""
    bare = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|on) \([^)]*\)", "", query)
    return set(re.findall(r"\b(?:likeness|nv|process)_\w+", bare)) | ({"up"} & set(re.findall(r"\bup\b", bare)))


def test_the_dashboards_are_those_that_the_source_makes() -> None:
    made = dashboards()
    assert {path.name for path in FOLDER.iterdir()} == set(made)
    for name, text in made.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == text, "run python -m triton.grafana.write_dashboards"


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_asks_for_series_that_there_are(query: str) -> None:
    asked = series(query)
    assert asked
    assert asked <= KNOWN | PROCESS | TRITON_SERIES | TRITON_GPU_SERIES | {"up"}


def test_every_series_of_the_service_is_shown_somewhere() -> None:
    asked = set().union(*map(series, QUERIES))
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) if name in KNOWN else name for name in asked}
    own = {each.name for each in Metrics("1").series}
    # What is waiting is shown, what may wait is for alerts of one's own.
    assert own - shown - asked == {"likeness_model_queue_limit_items"}


def test_every_alert_says_what_is_wrong_how_bad_it_is_and_where_to_read_on() -> None:
    runbook = ROOT / "docs/runbook.md"
    sections = re.findall(r"^#+ (.*)$", runbook.read_text(encoding="utf-8"), re.MULTILINE) if runbook.exists() else None
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["runbook_url"] == f"docs/runbook.md#{name.lower()}"
        assert re.fullmatch(r"\d+m", rule["for"])
        assert sections is None or name in sections, f"docs/runbook.md has no section {name}"


def test_prometheus_asks_where_the_service_and_triton_are() -> None:
    config = yaml.safe_load((PROMETHEUS_FOLDER / "prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job["file_sd_configs"][0]["files"] for job in config["scrape_configs"]}
    assert jobs == {name: [f"targets/{name}.yml"] for name in ("likeness", "triton")}
    for files in jobs.values():
        [target] = yaml.safe_load((PROMETHEUS_FOLDER / files[0]).read_text(encoding="utf-8"))
        assert target["targets"]
