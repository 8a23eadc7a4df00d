"""The real service as a process of its own, as `likeness serve` starts it, for service and end-to-end tests."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).resolve().parent.parent
START_TIMEOUT_S = 120


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer with its JSON body."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class RunningService:
    """Starts, calls, kills and stops one service."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        self.data_dir = data_dir
        self.port = free_port()
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._log = data_dir.parent / f"{data_dir.name}.log"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @contextlib.contextmanager
    def starting(self) -> Iterator[Self]:
        """Starts it without waiting, and leaves nothing of it behind, whatever a test finds."""
        self.start(wait=False)
        try:
            yield self
        finally:
            if self.is_running:
                self.kill()

    def wait_for_log(self, text: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while text not in self.log:
            assert time.monotonic() < deadline, f"{text!r} is not in the log:\n{self.log}"
            time.sleep(0.001)

    def start(self, *, wait: bool = True) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LIKENESS_")}
        environment |= {"LIKENESS_PORT": str(self.port), "LIKENESS_DATA_DIR": str(self.data_dir)}
        environment |= {f"LIKENESS_{name.upper()}": value for name, value in self._settings.items()}
        if "LIKENESS_TEST_TRITON_PYTHON" in os.environ:
            environment["LIKENESS_TRITON_PYTHON"] = os.environ["LIKENESS_TEST_TRITON_PYTHON"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "app", "serve"], cwd=ROOT, env=environment, stdout=log, stderr=log
            )
        if wait:
            self.wait_until_answering()

    def wait_until_answering(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                message = f"the service ended with status {self._process.returncode}:\n{self.log}"
                raise AssertionError(message)
            with contextlib.suppress(OSError):
                if self.call("GET", "/health/live").status == 200:
                    return
            time.sleep(0.05)
        message = f"the service did not answer in {START_TIMEOUT_S} s:\n{self.log}"
        raise AssertionError(message)

    def wait(self, timeout: float) -> int:
        assert self._process is not None
        return self._process.wait(timeout)

    def kill(self) -> None:
        """As kill -9 does."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(number)
        return self._process.wait(30)

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        raw: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        data = raw if raw is not None else None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=dict(headers or {}))
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return Reply(answer.status, json.load(answer), dict(answer.headers))
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, json.load(error), dict(error.headers))

    def descendants(self) -> set[int]:
        """Process ids of everything that the service started, directly or not."""
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdecimal():
                with contextlib.suppress(OSError):
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                    parents[int(entry.name)] = int(fields[1])
        found = {self.pid}
        while new := {child for child, parent in parents.items() if parent in found} - found:
            found |= new
        return found - {self.pid}


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def data_uri(data: bytes, mime: str = "image/jpeg") -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"


def file_uri(path: Path) -> str:
    """A data URI of a file's bytes."""
    return data_uri(path.read_bytes(), "application/octet-stream")


@contextlib.contextmanager
def fresh_group(service: RunningService, family: str, name: str) -> Iterator[str]:
    """Makes a group, yields its path, removes it."""
    path = f"/v1/{family}/groups/{name}"
    reply = service.call("POST", path, {"config": {"capacity": 1000}})
    assert (reply.status, reply.body) == (200, {}), reply
    try:
        yield path
    finally:
        service.call("POST", f"{path}/remove")


def wait_gone(pids: set[int], timeout: float) -> set[int]:
    """Those of the processes that are still there after ``timeout`` seconds (zombies do not count)."""
    deadline = time.monotonic() + timeout
    left = set(pids)
    while left and time.monotonic() < deadline:
        left = {pid for pid in left if _alive(pid)}
        time.sleep(0.05)
    return left


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
