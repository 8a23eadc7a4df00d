"""Environments are made once, made anew when their files change, and never left half-made."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.environments.environment import ENVIRONMENTS, STAMP, Environment, EnvironmentMaker, advice
from app.environments.interpreter import Interpreter
from app.errors import OperatorError

SERVICE, DEV, TRITON = (ENVIRONMENTS[name] for name in ("service", "dev", "triton"))
PYTHON_311 = Interpreter("/usr/bin/python3.11", "3.11.7")
PYTHON_312 = Interpreter("/usr/bin/python3.12", "3.12.1")


class Recorder:
    """Stands in for the programs: venv leaves an interpreter, pip writes what it is told to."""

    def __init__(self) -> None:
        self.commands: list[list[str]] = []
        self.told: list[str] = []
        self.pip_status = 0
        self.pip_output = ""
        self.interrupt_pip = False

    def run(self, command: Sequence[str], output: Path | None) -> int:
        self.commands.append(list(command))
        if "venv" in command:
            interpreter = Path(command[-1]) / "bin" / "python"
            interpreter.parent.mkdir()
            interpreter.touch()
            return 0
        if self.interrupt_pip:
            raise KeyboardInterrupt
        if output is not None:
            output.write_text(self.pip_output)
        return self.pip_status

    @property
    def made(self) -> int:
        return sum("venv" in command for command in self.commands)

    @property
    def installed(self) -> list[str]:
        return [command[command.index("--requirement") + 1] for command in self.commands if "--requirement" in command]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for environment in ENVIRONMENTS.values():
        file = tmp_path / environment.requirements
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"# {environment.name}\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    return tmp_path


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def maker(project: Path, recorder: Recorder) -> EnvironmentMaker:
    return EnvironmentMaker(project, PYTHON_311, run=recorder.run, tell=recorder.told.append)


def test_a_new_environment_gets_its_hashed_pins_and_then_the_project(
    maker: EnvironmentMaker, recorder: Recorder
) -> None:
    maker.make(SERVICE)
    venv, pins, project = recorder.commands
    assert venv[:4] == ["/usr/bin/python3.11", "-I", "-m", "venv"]
    assert {"--require-hashes", "requirements/service.txt"} < set(pins)
    assert {"--no-deps", "--no-build-isolation", "--editable"} < set(project)
    assert maker.is_ready(SERVICE)


def test_a_ready_environment_costs_no_command(maker: EnvironmentMaker, recorder: Recorder) -> None:
    maker.make(SERVICE)
    recorder.commands.clear()
    maker.make(SERVICE)
    assert recorder.commands == []


def test_tritons_environment_takes_no_package_beyond_its_pins(maker: EnvironmentMaker, recorder: Recorder) -> None:
    maker.make(TRITON)
    assert "--no-deps" in recorder.commands[-1]
    assert not any("--editable" in command for command in recorder.commands)


@pytest.mark.parametrize("environment", [SERVICE, DEV, TRITON], ids=lambda environment: environment.name)
def test_changed_pins_make_the_environment_afresh(
    project: Path, maker: EnvironmentMaker, recorder: Recorder, environment: Environment
) -> None:
    maker.make(environment)
    left_over = project / environment.folder / "left-over"
    left_over.touch()
    (project / environment.requirements).write_text("# other pins\n")
    assert not maker.is_ready(environment)
    maker.make(environment)
    assert recorder.made == 2
    assert not left_over.exists()


def test_another_python_makes_the_environment_afresh(
    project: Path, maker: EnvironmentMaker, recorder: Recorder
) -> None:
    maker.make(SERVICE)
    other = EnvironmentMaker(project, PYTHON_312, run=recorder.run, tell=recorder.told.append)
    assert not other.is_ready(SERVICE)
    other.make(SERVICE)
    assert recorder.made == 2
    assert recorder.commands[-3][0] == PYTHON_312.executable


def test_an_environment_whose_python_is_gone_is_made_afresh(
    project: Path, maker: EnvironmentMaker, recorder: Recorder
) -> None:
    maker.make(SERVICE)
    (project / ".venv" / "bin" / "python").unlink()
    maker.make(SERVICE)
    assert recorder.made == 2


def test_a_changed_pyproject_installs_the_project_again_and_no_package(
    project: Path, maker: EnvironmentMaker, recorder: Recorder
) -> None:
    maker.make(SERVICE)
    recorder.commands.clear()
    (project / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    maker.make(SERVICE)
    assert len(recorder.commands) == 1
    assert "--editable" in recorder.commands[0]


def test_dev_adds_to_the_service_environment_and_serves_for_it(maker: EnvironmentMaker, recorder: Recorder) -> None:
    maker.make(SERVICE)
    maker.make(DEV)
    maker.make(SERVICE)
    assert recorder.made == 1
    assert recorder.installed == ["requirements/service.txt", "requirements/dev.txt"]


def test_the_service_keeps_a_dev_environment_when_only_pyproject_changed(
    project: Path, maker: EnvironmentMaker, recorder: Recorder
) -> None:
    maker.make(DEV)
    (project / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    maker.make(SERVICE)
    assert recorder.made == 1
    assert maker.is_ready(DEV)


def test_an_interrupted_environment_is_made_afresh(project: Path, maker: EnvironmentMaker, recorder: Recorder) -> None:
    recorder.interrupt_pip = True
    with pytest.raises(KeyboardInterrupt):
        maker.make(SERVICE)
    assert not maker.is_ready(SERVICE)
    recorder.interrupt_pip = False
    maker.make(SERVICE)
    assert recorder.made == 2
    assert maker.is_ready(SERVICE)


def test_adding_packages_that_is_interrupted_leaves_no_ready_environment(
    maker: EnvironmentMaker, recorder: Recorder
) -> None:
    maker.make(SERVICE)
    recorder.interrupt_pip = True
    with pytest.raises(KeyboardInterrupt):
        maker.make(DEV)
    assert not maker.is_ready(SERVICE)


def test_a_failed_install_is_one_sentence_that_names_the_log(
    project: Path, maker: EnvironmentMaker, recorder: Recorder
) -> None:
    recorder.pip_status = 1
    recorder.pip_output = "".join(f"line {number}\n" for number in range(30))
    with pytest.raises(OperatorError, match=r"^Installing into .venv failed: .*build/pip-service.log\).$") as failure:
        maker.make(SERVICE)
    assert "\n" not in str(failure.value)
    assert (project / "build" / "pip-service.log").read_text() == recorder.pip_output
    assert recorder.told[-1].splitlines()[-1] == "line 29"
    assert not maker.is_ready(SERVICE)


def test_a_terminal_gets_pips_own_progress_bar(project: Path, recorder: Recorder) -> None:
    EnvironmentMaker(project, PYTHON_311, run=recorder.run, tell=recorder.told.append, terminal=True).make(TRITON)
    assert not any("--progress-bar=off" in command for command in recorder.commands)


@pytest.mark.parametrize(
    ("log", "word"),
    [
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "pinned"),
        ("OSError: [Errno 28] No space left on device", "disk"),
        ("WARNING: Retrying: Failed to establish a new connection\nERROR: No matching distribution found", "network"),
        ("", "network"),
    ],
)
def test_the_advice_fits_what_pip_said(log: str, word: str) -> None:
    assert word in advice(log)


def test_a_folder_that_make_did_not_make_is_left_alone(
    project: Path, maker: EnvironmentMaker, recorder: Recorder
) -> None:
    (project / ".venv").mkdir()
    (project / ".venv" / "pyvenv.cfg").touch()
    with pytest.raises(OperatorError, match="move it away"):
        maker.make(SERVICE)
    assert (project / ".venv" / "pyvenv.cfg").exists()
    assert recorder.commands == []


def test_a_link_in_the_folders_place_is_left_alone(project: Path, tmp_path: Path, maker: EnvironmentMaker) -> None:
    (project / "elsewhere").mkdir()
    (project / ".venv").symlink_to(project / "elsewhere")
    with pytest.raises(OperatorError, match="move it away"):
        maker.make(SERVICE)


@pytest.mark.parametrize("stamp", ["", "{}", "[1]", '{"name": "service"}', "null"])
def test_a_damaged_stamp_counts_as_none(project: Path, maker: EnvironmentMaker, recorder: Recorder, stamp: str) -> None:
    maker.make(SERVICE)
    (project / ".venv" / STAMP).write_text(stamp)
    assert not maker.is_ready(SERVICE)
    maker.make(SERVICE)
    assert recorder.made == 2


def test_two_at_once_make_it_only_once(project: Path) -> None:
    recorder = Recorder()
    inside = threading.Event()

    def run(command: Sequence[str], output: Path | None) -> int:
        inside.set()
        # The second must have its turn while the first is at work: it says so before it waits for the lock.
        while not any("waiting for it" in line for line in recorder.told):
            time.sleep(0.001)
        return recorder.run(command, output)

    def make() -> None:
        EnvironmentMaker(project, PYTHON_311, run=run, tell=recorder.told.append).make(SERVICE)

    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(make)
        assert inside.wait(10)
        second = threads.submit(make)
        first.result(10)
        second.result(10)
    assert recorder.made == 1


def test_the_interpreter_behind_a_virtual_environment_is_used() -> None:
    executable = Path(Interpreter.running().executable)
    assert executable.is_file()
    assert not executable.is_relative_to(sys.prefix) or sys.prefix == sys.base_prefix
