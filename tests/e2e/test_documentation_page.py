"""The documentation page in a real browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest

from app.api.table import all_operations
from tests.running_service import RunningService

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--virtual-time-budget=20000",
]  # fmt: skip


@pytest.mark.skipif(BROWSER is None and os.environ.get("CI") != "true", reason="no Chromium on this machine")
def test_the_page_shows_every_operation_without_asking_any_other_host(service: RunningService, tmp_path: Path) -> None:
    assert BROWSER is not None, "CI must have Chromium: install the package chromium"
    # Any request for another host would fail to resolve and show in the console.
    rules = "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"
    command = [BROWSER, *FLAGS, rules, "--enable-logging=stderr", f"--user-data-dir={tmp_path}", "--dump-dom"]
    shown = subprocess.run(
        [*command, f"{service.url}/docs#/Faces/searchFaces"], capture_output=True, text=True, timeout=120
    )
    page = re.sub(r"\u200b|<wbr>", "", shown.stdout)
    for operation in all_operations():
        assert f'id="operations-{operation.tag.replace(" ", "_")}-{operation.id}"' in page, operation.id
        assert operation.summary in page
    assert "Try it out" in page, "the operation that the address names is open"
    assert "Content Security Policy" not in shown.stderr, "the page breaks its own policy"
    assert "Uncaught" not in shown.stderr
    assert "ERR_NAME_NOT_RESOLVED" not in shown.stderr


def test_the_front_page_leads_to_the_documentation(service: RunningService) -> None:
    with urllib.request.urlopen(f"{service.url}/") as answer:
        assert answer.url == f"{service.url}/docs"


def test_the_page_and_its_files_say_where_they_may_load_from(service: RunningService) -> None:
    with urllib.request.urlopen(f"{service.url}/docs") as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        html = answer.read().decode()
    for file in re.findall(r'(?:src|href)="(/docs/[^"]+)"', html):
        with urllib.request.urlopen(service.url + file) as answer:
            assert answer.status == 200
            assert len(answer.read()) > 50
    assert service.call("GET", "/docs/..%2Fserver.py").status == 404
    assert service.call("GET", "/docs/secret.js").body["code"] == "not_found"


def test_the_document_on_the_network_is_the_one_that_the_command_prints(service: RunningService) -> None:
    import json
    import sys

    from tests.running_service import ROOT

    printed = subprocess.run([sys.executable, "-m", "app", "openapi"], cwd=ROOT, capture_output=True, text=True)
    assert json.loads(printed.stdout) == service.call("GET", "/openapi.json").body
