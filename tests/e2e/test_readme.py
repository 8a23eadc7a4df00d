"""The README's calls, pasted one by one into a shell, give what the README says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.running_service import ROOT, RunningService

README = (ROOT / "README.md").read_text(encoding="utf-8")
CALL = re.compile(r"```sh\n(curl .*?)```\n```json\n(.*?)\n```", re.DOTALL)
HELPER = re.compile(r"^uri\(\) \{.*\}$", re.MULTILINE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_the_calls_of_the_readme_give_its_answers(tmp_path: Path) -> None:
    helper = HELPER.search(README)
    calls = CALL.findall(README)
    assert helper is not None
    assert len(calls) == 6
    with RunningService(tmp_path / "data") as service:
        for call, answer in calls:
            script = f"{helper[0]}\n{call}".replace("http://127.0.0.1:8000", service.url)
            pasted = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
            assert pasted.returncode == 0, pasted.stderr
            same(json.loads(pasted.stdout), json.loads(answer))


def same(found: Any, expected: Any) -> None:
    """Equal, but that scores may differ as processors round and boxes by a pixel."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=0.005)
    elif isinstance(expected, int):
        assert found == pytest.approx(expected, abs=1)
    else:
        assert found == expected


def test_every_file_that_the_readme_shows_exists() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
    assert "docs/architecture.svg" in links
