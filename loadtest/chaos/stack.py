"""The whole stack that faults are done to: the real service, its Triton, and Milvus Lite or a Milvus server."""

from __future__ import annotations

import asyncio
import os
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from loadtest.bench.processor_time import names_of
from loadtest.chaos.clock import Clock
from loadtest.chaos.line import Line
from tests.real_milvus import RealServer, server_package, unpack
from tests.running_service import ROOT, RunningService

_DATA_BYTES = 192 << 20


class Stack:
    """Starts everything in a folder, and leaves nothing behind.

    Attributes:
        service: the service; its data folder is a file system of its own where this user may mount one.
        line: between the service and a Milvus server; None for Milvus Lite.
        server: the Milvus server; None for Milvus Lite.
        clock: what the service and its programs take for the time.
        is_mounted: whether the data folder can be filled to the last byte.

    Args:
        folder: for everything.
        milvus: ``lite`` or ``server``.
        timeout_s: what a call to Triton or to Milvus may take; a request may take three times as long.
        settings: further ones of the service.
    """

    def __init__(self, folder: Path, *, milvus: str, timeout_s: float, settings: dict[str, str]) -> None:
        self._folder = folder
        self._exit = ExitStack()
        data = folder / "data"
        data.mkdir()
        self.is_mounted = self._mount(data)
        self.clock = Clock(folder)
        settings = {
            "triton_timeout": f"{timeout_s:g}",
            "milvus_timeout": f"{timeout_s:g}",
            "request_timeout": f"{3 * timeout_s:g}",
        } | settings
        self.server: RealServer | None = None
        self.line: Line | None = None
        if milvus == "server":
            package = server_package()
            assert package is not None, "the package `milvus` (2.3.5) is not installed"
            programs = ROOT / ".pytest_cache" / "d" / "milvus-2.3.5"
            programs.mkdir(parents=True, exist_ok=True)
            unpack(package, programs)
            self.server = RealServer(package, programs, folder / "milvus", session_s=int(3 * timeout_s))
            self.server.configure()
            host, _, port = self.server.uri.removeprefix("http://").partition(":")
            self.line = self._exit.enter_context(Line(host, int(port)))
            settings["milvus_uri"] = self.line.uri
            settings["locks"] = str(folder / "locks")
        self.service = RunningService(data, **settings)

    def __enter__(self) -> Self:
        if self.server is not None:
            asyncio.run(self.server.start())
        with self.clock.inherited():
            self.service.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.service.is_running:
            self.service.kill()
        if self.server is not None and self.server.is_running:
            asyncio.run(self.server.kill())
        self._exit.close()

    def _mount(self, data: Path) -> bool:
        options = ["-t", "tmpfs", "-o", f"size={_DATA_BYTES}", "likeness-chaos", str(data)]
        if os.geteuid() or subprocess.run(["mount", *options], capture_output=True, check=False).returncode:
            return False
        self._exit.callback(subprocess.run, ["umount", "--lazy", str(data)], check=True)
        return True

    def programs(self, name: str) -> list[int]:
        """Process ids of the service's programs of that name."""
        return [pid for pid in self.service.descendants() if _name(pid) == name]

    @property
    def triton(self) -> int:
        """Process id of the Triton server."""
        [pid] = self.programs("tritonserver")
        return pid

    @property
    def models(self) -> list[int]:
        """Process ids of Triton's model processes."""
        return self.programs("triton_python_b")

    @property
    def decoders(self) -> list[int]:
        """Process ids of those that decode images."""
        names = names_of(self.service.pid, self.service.descendants())
        return [pid for pid, name in names.items() if name == "decoders"]

    @property
    def milvus(self) -> int:
        """Process id of Milvus."""
        if self.server is not None:
            return self.server.pid
        [pid] = self.programs("milvus")
        return pid

    def restart_server(self) -> None:
        """Starts the Milvus server again, which was killed."""
        assert self.server is not None
        asyncio.run(self.server.kill())
        asyncio.run(self.server.start())


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""
