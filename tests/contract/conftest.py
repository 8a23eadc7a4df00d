"""The engines that every scenario runs on: Milvus Lite, a real Milvus 2.3.5, and any server that the environment names.

``LIKENESS_TEST_MILVUS_URI`` adds a third engine, e.g. ``http://127.0.0.1:19530``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Protocol

import pytest
import pytest_asyncio
from pymilvus import AsyncMilvusClient

from app.embedded.milvus import EmbeddedMilvus
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Metric
from tests.real_milvus import START_TIMEOUT_S, RealServer, server_package, unpack

EXTERNAL = os.environ.get("LIKENESS_TEST_MILVUS_URI", "")
ENGINES = ["lite", "server", *(["external"] if EXTERNAL else [])]


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


class ExternalServer:
    """A server that belongs to someone else: it can be used, not killed."""

    uri = EXTERNAL

    async def kill(self) -> None:
        pytest.skip("a server named by LIKENESS_TEST_MILVUS_URI is not ours to kill")

    async def start(self) -> None:
        pytest.skip("a server named by LIKENESS_TEST_MILVUS_URI is not ours to start")

    async def close(self) -> None:
        return


def _server_package() -> Path:
    package = server_package()
    if package is None:
        message = (
            "NOT TESTED ON A REAL MILVUS: the package `milvus` (2.3.5) is not installed: pip install milvus==2.3.5"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return package


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
        await asyncio.to_thread(unpack, package, programs)
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
