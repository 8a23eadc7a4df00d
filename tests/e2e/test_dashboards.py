"""A real Prometheus reads the real service and its Triton: every panel shows something, every alert can be told."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from tests.image_host import ImageHost
from tests.photos import astronaut
from tests.pictures import drawing, drawing_uri, encoded
from tests.promql import ALERTS, PANELS, PROMETHEUS_FOLDER, TRITON_SERIES
from tests.running_service import RunningService, data_uri, free_port, fresh_group
from triton.grafana.triton_board import GPU_PANELS

PROGRAMS = [shutil.which(name) for name in ("prometheus", "promtool")]
WAIT_S = 90
pytestmark = pytest.mark.skipif(
    None in PROGRAMS and os.environ.get("CI") != "true",
    reason="no Prometheus on this machine: dashboards and alerts are not tested (install the package prometheus)",
)


def program(number: int) -> str:
    found = PROGRAMS[number]
    assert found is not None, "CI must have Prometheus and promtool: install the package prometheus"
    return found


class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def ready(self) -> bool:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{self._url}/-/ready") as answer:
            return bool(answer.status == 200)
        return False

    def asked(self, path: str, **query: str) -> Any:
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        try:
            with urllib.request.urlopen(url, timeout=30) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{query}: {json.load(error)}") from error

    def numbers(self, query: str) -> list[float]:
        """The values that a query has now, without those that are not a number."""
        query = query.replace("$__rate_interval", "15s")
        values = [float(each["value"][1]) for each in self.asked("query", query=query)["result"]]
        return [value for value in values if value == value]


@pytest.fixture(scope="module")
def prometheus(service: RunningService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus with our own configuration, but that it looks every second at the service under test."""
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copytree(PROMETHEUS_FOLDER, folder / "config")
    config = folder / "config" / "prometheus.yml"
    config.write_text(config.read_text().replace("_interval: 15s", "_interval: 1s"))
    for job, url in (("likeness", service.url), ("triton", triton_metrics(service))):
        target = urllib.parse.urlsplit(url).netloc
        (folder / "config" / "targets" / f"{job}.yml").write_text(json.dumps([{"targets": [target]}]))
    port = free_port()
    options = [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program(0), *options], stdout=log, stderr=log)
    try:
        running = Prometheus(port)
        wait_until(lambda: running.ready() or process.poll() is not None)
        assert process.poll() is None, (folder / "log").read_text()
        yield running
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def load(service: RunningService) -> Iterator[None]:
    """Clients of every kind, one good call or bad one after the other."""
    face = data_uri(encoded(astronaut()))
    stop = threading.Event()
    with (
        ImageHost(encoded(drawing(1))).running() as host,
        fresh_group(service, "face", "watched") as faces,
        fresh_group(service, "image", "watched") as images,
        ThreadPoolExecutor(3) as clients,
    ):
        line = json.dumps({"image": {"uri": drawing_uri(2)}}).encode()
        calls: list[Callable[[], object]] = [
            lambda: service.call("POST", f"{faces}/add", {"image": {"uri": face}}),
            lambda: service.call("POST", f"{faces}/search", {"images": [face, face]}),
            lambda: service.call("POST", f"{images}/add", {"image": {"uri": f"{host.url}/a.jpg"}}),
            lambda: service.call("POST", f"{images}/search", {"images": [drawing_uri(3)]}),
            lambda: service.call("POST", f"{images}/import", raw=line + b"\n"),
            lambda: service.call("GET", faces),
            lambda: service.call("GET", "/v1/face/groups/nobody"),
            lambda: service.call("POST", f"{images}/search", {"images": ["ftp://nowhere"]}),
        ]

        def client(first: int) -> None:
            for call in cycle([*calls[first:], *calls[:first]]):
                if stop.is_set():
                    return
                call()

        running = [clients.submit(client, first) for first in (0, 3, 6)]
        try:
            yield
        finally:
            stop.set()
            for each in running:
                each.result()


def triton_metrics(service: RunningService) -> str:
    found: list[str] = re.findall(r"Triton shows its metrics on (\S+)", service.log)
    assert found, service.log
    return found[-1]


def wait_until(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not done() and time.monotonic() < deadline:
        time.sleep(0.2)


@pytest.mark.usefixtures("load")
def test_every_panel_shows_something_under_load_and_every_alert_can_be_told(prometheus: Prometheus) -> None:
    waiting = [each for each in PANELS if each.panel not in GPU_PANELS]
    assert len(waiting) > 40

    def all_shown() -> bool:
        waiting[:] = [each for each in waiting if not prometheus.numbers(each.query)]
        return not waiting

    wait_until(all_shown)
    assert waiting == []
    for each in PANELS:
        if each.panel in GPU_PANELS:
            assert prometheus.numbers(each.query) == [], f"{each.panel}: there is a GPU here, it can be tested"
    for rule in ALERTS.values():
        prometheus.numbers(rule["expr"])

    def rules() -> dict[str, Any]:
        return {rule["name"]: rule for group in prometheus.asked("rules")["groups"] for rule in group["rules"]}

    wait_until(lambda: all(rule["health"] == "ok" for rule in rules().values()))
    assert {name: (rule["health"], rule.get("lastError", "")) for name, rule in rules().items()} == dict.fromkeys(
        ALERTS, ("ok", "")
    )


def test_the_names_of_tritons_series_are_those_of_the_real_server(service: RunningService) -> None:
    with urllib.request.urlopen(triton_metrics(service)) as answer:
        text = answer.read().decode()
    assert set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE)) >= TRITON_SERIES


def test_the_page_of_the_service_is_as_prometheus_wants_it(service: RunningService) -> None:
    with urllib.request.urlopen(f"{service.url}/metrics") as answer:
        page = answer.read()
    found = subprocess.run([program(1), "check", "metrics"], input=page, capture_output=True)
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")


@pytest.mark.parametrize("arguments", [("check", "config", "prometheus.yml"), ("test", "rules", "alerts_test.yml")])
def test_the_configuration_and_the_alerts_pass_promtool(arguments: tuple[str, ...]) -> None:
    found = subprocess.run([program(1), *arguments], cwd=PROMETHEUS_FOLDER, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_alert_has_a_case_of_its_own(tmp_path: Path) -> None:
    cases = (PROMETHEUS_FOLDER / "alerts_test.yml").read_text()
    assert [name for name in ALERTS if f"alertname: {name}\n" not in cases] == []
