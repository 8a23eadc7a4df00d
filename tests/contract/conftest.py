"""The engines that every scenario runs on: Milvus Lite, a real Milvus 2.3.5, and any server that the environment names.

The real server is the program in the PyPI package ``milvus``; only its files are used, the package is not imported.
``LIKENESS_TEST_MILVUS_URI`` adds a third engine, e.g. ``http://127.0.0.1:19530``.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import lzma
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import IO, Protocol

import pytest
import pytest_asyncio
from pymilvus import AsyncMilvusClient

from app.embedded.milvus import EmbeddedMilvus
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Metric

EXTERNAL = os.environ.get("LIKENESS_TEST_MILVUS_URI", "")
ENGINES = ["lite", "server", *(["external"] if EXTERNAL else [])]
START_TIMEOUT_S = 60.0


class EngineUnderTest(Protocol):
    """What a scenario may do to the engine it runs on."""

    @property
    def uri(self) -> str: ...
    async def kill(self) -> None: ...
    async def start(self) -> None: ...
    async def close(self) -> None: ...


class LiteEngine:
    """Milvus Lite under the service's own supervision: it comes back by itself."""

    def __init__(self, folder: Path) -> None:
        self._milvus = EmbeddedMilvus(data_dir=folder / "data", log_dir=folder / "logs")

    @property
    def uri(self) -> str:
        return self._milvus.uri

    async def open(self) -> None:
        await self._milvus.__aenter__()

    async def kill(self) -> None:
        guard = self._milvus.pid
        assert guard is not None
        [program] = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
        os.kill(int(program), signal.SIGKILL)
        while self._milvus.pid == guard:
            await asyncio.sleep(0.002)

    async def start(self) -> None:
        path = self.uri.removeprefix("unix:")
        async with asyncio.timeout(START_TIMEOUT_S):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_unix_connection(path)
                    writer.close()
                    return
                await asyncio.sleep(0.02)

    async def close(self) -> None:
        await self._milvus.__aexit__(None, None, None)


class RealServer:
    """Milvus standalone 2.3.5 with its own folder and free ports, for one process at a time."""

    def __init__(self, package: Path, programs: Path, folder: Path) -> None:
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
            # keeps from renewing its session for so long ends itself.
            "COMMON_SESSION_TTL": "8",
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


class ExternalServer:
    """A server that belongs to someone else: it can be used, not killed."""

    uri = EXTERNAL

    async def kill(self) -> None:
        pytest.skip("a server named by LIKENESS_TEST_MILVUS_URI is not ours to kill")

    async def start(self) -> None:
        pytest.skip("a server named by LIKENESS_TEST_MILVUS_URI is not ours to start")

    async def close(self) -> None:
        return


def _free_ports(number: int) -> list[int]:
    with contextlib.ExitStack() as sockets:
        opened = [sockets.enter_context(socket.socket()) for _ in range(number)]
        for each in opened:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in opened]


def _unpacked(package: Path, programs: Path) -> None:
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


def _server_package() -> Path:
    spec = importlib.util.find_spec("milvus")
    if spec is None or not spec.submodule_search_locations:
        message = (
            "NOT TESTED ON A REAL MILVUS: the package `milvus` (2.3.5) is not installed: pip install milvus==2.3.5"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return Path(spec.submodule_search_locations[0]) / "data"


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=ENGINES)
async def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> AsyncIterator[EngineUnderTest]:
    """A running engine of each kind."""
    running: EngineUnderTest
    folder = tmp_path_factory.mktemp(request.param)
    if request.param == "lite":
        lite = LiteEngine(folder)
        await lite.open()
        running = lite
    elif request.param == "server":
        package = _server_package()
        cache = pytestconfig.cache
        programs = cache.mkdir("milvus-2.3.5") if cache is not None else folder
        await asyncio.to_thread(_unpacked, package, programs)
        server = RealServer(package, programs, folder)
        server.configure()
        await server.start()
        running = server
    else:
        running = ExternalServer()
    yield running
    await running.close()


OpenStore = Callable[..., GroupStore]


@pytest.fixture(scope="session")
def uri(engine: EngineUnderTest) -> str:
    """The engine's address."""
    return engine.uri


@pytest.fixture
def kill(engine: EngineUnderTest) -> Callable[[], Awaitable[None]]:
    """Ends the engine as a crash would."""
    return engine.kill


@pytest.fixture
def start(engine: EngineUnderTest) -> Callable[[], Awaitable[None]]:
    """Starts the engine again on what it had stored, at the same address."""
    return engine.start


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def open_store(engine: EngineUnderTest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OpenStore]:
    """Makes stores on the engine, each with a prefix of its own unless told; drops what they made at the end."""
    prefixes: set[str] = set()
    folder = tmp_path_factory.mktemp("pending")

    def make(*, prefix: str | None = None, embedded: bool = False, timeout_s: float = 30.0) -> GroupStore:
        prefixes.add(chosen := prefix or f"t{secrets.token_hex(4)}")
        pending = folder / chosen if isinstance(engine, LiteEngine) else None
        return GroupStore(uri=engine.uri, prefix=chosen, embedded=embedded, timeout_s=timeout_s, pending=pending)

    yield make
    client = AsyncMilvusClient(uri=engine.uri, timeout=10, dedicated=True)
    for collection in await client.list_collections(timeout=10):
        if collection.split("_")[0] in prefixes:
            await client.drop_collection(collection, timeout=30)
    await client.close()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def store(open_store: OpenStore) -> AsyncIterator[GroupStore]:
    """One store for all scenarios that need no other; each scenario makes groups of its own."""
    async with open_store() as opened:
        yield opened


@pytest.fixture
def group() -> str:
    """A group's name that no other scenario uses."""
    return f"g-{secrets.token_hex(4)}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def shared(store: GroupStore) -> AsyncIterator[str]:
    """One group of images, 4 numbers each, for a whole file: making one takes seconds on a server."""
    name = f"rows-{secrets.token_hex(4)}"
    await store.create(Family.IMAGE, name, capacity=1000, space=EmbeddingSpace("m", 4, Metric.L2))
    yield name
    await store.remove(Family.IMAGE, name)


@pytest_asyncio.fixture(loop_scope="session")
async def filled(store: GroupStore, shared: str) -> AsyncIterator[str]:
    """The shared group, empty before and after, for a scenario to fill."""
    yield shared
    while (page := await store.rows(Family.IMAGE, shared, tag=None, after=None, limit=1000)).items:
        await store.delete(Family.IMAGE, shared, [row.id for row in page.items])
