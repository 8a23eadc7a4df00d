"""Programs that die or hang are started again; one that is busy is left alone."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from app.embedded import watch
from app.embedded.process import Program, SupervisedProcess

# Has a process of its own, as Triton has for its models. Answers each connection with a byte; a file beside its socket
# has it work instead, for ever.
PROGRAM = """
import contextlib, os, socket, subprocess, sys
subprocess.Popen(["sleep", "1000"])
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
while True:
    connection, _ = listener.accept()
    while os.path.exists(sys.argv[1] + ".busy"):
        pass
    with contextlib.suppress(OSError):
        connection.sendall(b"x")
    connection.close()
"""


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "_LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(watch, "_LOOK_TIMEOUT_S", 0.1)


@asynccontextmanager
async def supervised(folder: Path) -> AsyncIterator[tuple[SupervisedProcess, Callable[[], Awaitable[None]]]]:
    path = folder / "socket"

    def program() -> Program:
        path.unlink(missing_ok=True)
        arguments = [sys.executable, "-c", PROGRAM, str(path)]
        return Program("Small", arguments, os.environ, "", folder, folder / "log")

    async def answers() -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        try:
            await reader.readexactly(1)
        finally:
            writer.transport.abort()

    async def ready() -> None:
        while True:
            try:
                return await answers()
            except OSError:
                await asyncio.sleep(0.01)

    process = SupervisedProcess(program, ready, start_timeout=30, answers=answers)
    await process.start()
    try:
        yield process, ready
    finally:
        await process.stop(5)


def child_of(pid: int) -> int:
    [child] = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


async def until_another(process: SupervisedProcess, guard: int | None) -> None:
    async with asyncio.timeout(30):
        while process.pid in (guard, None):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("of_its_own", [False, True])
async def test_a_program_is_started_again_that_dies_or_hangs_or_whose_own_process_does(
    tmp_path: Path, number: signal.Signals, *, of_its_own: bool
) -> None:
    async with supervised(tmp_path) as (process, ready):
        guard = process.pid
        assert guard is not None
        await asyncio.sleep(0.1)  # the watch begins
        child = child_of(guard)
        os.kill(child_of(child) if of_its_own else child, number)
        await until_another(process, guard)
        await ready()


async def test_a_program_that_works_without_answering_is_left_alone(tmp_path: Path) -> None:
    async with supervised(tmp_path) as (process, ready):
        guard = process.pid
        (tmp_path / "socket.busy").touch()
        await asyncio.sleep(2)  # three times as long as a hang takes to be seen
        assert process.pid == guard
        (tmp_path / "socket.busy").unlink()
        await ready()
        assert process.pid == guard


async def test_a_want_of_open_files_here_is_not_taken_for_a_hang_and_does_not_end_the_watch(tmp_path: Path) -> None:
    async with supervised(tmp_path) as (process, ready):
        guard = process.pid
        assert guard is not None
        before = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
        try:
            await asyncio.sleep(1.5)  # twice as long as a hang takes to be seen
            assert process.pid == guard
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        os.kill(child_of(guard), signal.SIGSTOP)
        await until_another(process, guard)
        await ready()
