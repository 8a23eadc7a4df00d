"""What a machine lacks is said in one sentence, before anything is installed."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from app.environments.child import Interrupted, run_child
from app.environments.interpreter import Interpreter, check_venv_module, find_interpreter, wrong_python
from app.environments.triton import check_platform, libpython_dir
from app.errors import OperatorError

ROOT = Path(__file__).resolve().parents[2]
GLIBC = ("glibc", "2.36")


def program(file: Path, text: str) -> Path:
    """Writes a shell script."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def says_libpython(folder: Path, library: str, libdir: Path) -> Path:
    facts = f'{{"version": "3.11", "library": "{library}", "folders": ["", "/nowhere", "{libdir}"]}}'
    return program(folder / "python", f"echo '{facts}'")


def test_the_sentence_for_a_wrong_python_names_what_was_found_and_what_is_needed() -> None:
    sentence = wrong_python("3.13.0", "/opt/python")
    assert sentence.startswith("Python 3.11 or 3.12 is needed, found 3.13.0 (/opt/python)")
    assert "\n" not in sentence


def test_a_shim_that_leads_nowhere_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "shims" / "python3.11", "echo 'not found' >&2; exit 127")
    real = program(tmp_path / "real" / "python3.11", "echo 3 11")
    assert find_interpreter(f"{tmp_path / 'shims'}{os.pathsep}{tmp_path / 'real'}") == str(real)


def test_a_program_that_lies_about_its_version_is_passed_over(tmp_path: Path) -> None:
    program(tmp_path / "python3.11", "echo 3 13")
    python = program(tmp_path / "python3.12", "echo 3 12")
    assert find_interpreter(str(tmp_path)) == str(python)


def test_no_python_on_the_path_is_none(tmp_path: Path) -> None:
    (tmp_path / "python3.11").write_text("not executable")
    assert find_interpreter(str(tmp_path)) is None


def test_the_running_python_can_make_environments() -> None:
    check_venv_module(Interpreter.running())


@pytest.mark.parametrize("left_behind", [False, True])
def test_a_missing_ensurepip_names_debians_package(monkeypatch: pytest.MonkeyPatch, left_behind: bool) -> None:
    real = importlib.util.find_spec

    def find_spec(name: str) -> ModuleSpec | None:
        if name == "ensurepip":
            return ModuleSpec(name, None) if left_behind else None
        return real(name)

    monkeypatch.setattr(importlib.util, "find_spec", find_spec)
    with pytest.raises(OperatorError, match=r"python3-venv \(or python3\.11-venv\)"):
        check_venv_module(Interpreter("/usr/bin/python3.11", "3.11.2"))


def test_the_folder_of_the_shared_libpython_is_found(tmp_path: Path) -> None:
    (tmp_path / "libpython3.11.so.1.0").touch()
    python = says_libpython(tmp_path, "libpython3.11.so.1.0", tmp_path)
    assert libpython_dir(python) == tmp_path


@pytest.mark.parametrize("library", ["libpython3.11.so.1.0", "libpython3.11.a", ""])
def test_a_missing_libpython_names_the_package(tmp_path: Path, library: str) -> None:
    (tmp_path / "libpython3.11.a").touch()
    with pytest.raises(OperatorError, match=r"install the package libpython3\.11 ") as failure:
        libpython_dir(says_libpython(tmp_path, library, tmp_path))
    assert "\n" not in str(failure.value)


def test_a_python_that_does_not_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="does not run"):
        libpython_dir(tmp_path / "python")
    with pytest.raises(OperatorError, match="does not run"):
        libpython_dir(program(tmp_path / "python", "exit 3"))


def test_the_probe_runs_under_a_real_python() -> None:
    try:
        assert list(libpython_dir(Path(sys.executable)).glob("libpython3*"))
    except OperatorError as error:  # a Python without one: then the sentence names its version
        assert f"libpython{sys.version_info.major}.{sys.version_info.minor} " in str(error)  # noqa: PT017


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_linux_with_a_new_enough_glibc_runs_triton(machine: str) -> None:
    check_platform("Linux", machine, GLIBC)
    check_platform("Linux", machine, ("glibc", "2.35"))


@pytest.mark.parametrize(
    ("system", "machine", "libc"),
    [
        ("Darwin", "arm64", ("", "")),
        ("Linux", "riscv64", GLIBC),
        ("Linux", "x86_64", ("", "")),  # musl
        ("Linux", "x86_64", ("glibc", "2.31")),
    ],
)
def test_a_machine_that_triton_has_no_binary_for_is_said(system: str, machine: str, libc: tuple[str, str]) -> None:
    with pytest.raises(OperatorError, match="LIKENESS_TRITON_URL") as failure:
        check_platform(system, machine, libc)
    assert f"{system} on {machine}" in str(failure.value)


def test_the_command_line_refuses_an_unknown_environment() -> None:
    command = [sys.executable, "-E", "-s", "-m", "app.environments", "bogus"]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr == "Name what to set up: service, dev, triton.\n"


def test_a_program_tells_its_status_and_writes_where_it_is_told(tmp_path: Path) -> None:
    said = tmp_path / "said"
    assert run_child(["/bin/sh", "-c", "echo out; echo $PIP_USER >&2; exit 7"], said) == 7
    assert said.read_text() == "out\n0\n"


def test_a_program_ends_when_we_are_told_to(tmp_path: Path) -> None:
    ready, ended = tmp_path / "ready", tmp_path / "ended"
    script = f"trap 'touch {ended}; exit 0' INT; touch {ready}; while :; do sleep 0.01; done"

    def stop(number: int, _frame: object) -> None:
        raise Interrupted(number)

    def tell_us_to() -> None:
        while not ready.exists():
            time.sleep(0.01)
        time.sleep(0.2)  # until run_child waits for the program
        os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, stop)
    # In a background job SIGINT is ignored, and a shell cannot trap what was ignored when it started.
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)
    teller = threading.Thread(target=tell_us_to)
    teller.start()
    try:
        with pytest.raises(Interrupted):
            run_child(["/bin/sh", "-c", script])
    finally:
        teller.join()
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGALRM, before)
    assert ended.exists()
