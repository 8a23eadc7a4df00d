"""The direction of dependencies, and names that say nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SAYS_NOTHING = {"utils", "common", "core", "helpers", "base", "manager", "util", "helper", "misc"}


def test_dependencies_point_one_way() -> None:
    # A process of its own: import-linter disables every logger there is.
    linted = subprocess.run(
        [sys.executable, "-c", "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert linted.returncode == 0, linted.stdout + linted.stderr


def test_only_the_settings_read_the_services_environment() -> None:
    readers = [
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "app").rglob("*.py")
        if "LIKENESS_" in (text := path.read_text(encoding="utf-8")) and ("os.environ[" in text or "getenv" in text)
    ]
    assert readers == []


def test_no_file_or_folder_is_named_after_nothing() -> None:
    named = {path.stem for folder in ("app", "tests", "loadtest", "triton") for path in (ROOT / folder).rglob("*")}
    assert named & SAYS_NOTHING == set()


def test_no_file_grows_past_what_one_noun_needs() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): count
        for folder in ("app", "tests", "triton")
        for path in (ROOT / folder).rglob("*.py")
        if (count := len(path.read_text(encoding="utf-8").splitlines())) > 400
    }
    assert long == {}
