"""A service on two real Tritons, its session's own and one more, whose traces go to a real endpoint."""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from app.config import PROJECT
from app.embedded.triton import EmbeddedTriton
from tests.collector import Collector
from tests.running_service import RunningService


@dataclass(frozen=True, slots=True)
class Spread:
    """The service, the address of the Triton that stays, the one that a test may kill, and where traces go."""

    service: RunningService
    first: str
    second: EmbeddedTriton
    collector: Collector


@contextmanager
def spread_service(folder: Path, service: RunningService) -> Iterator[Spread]:
    """Starts it beside another service, whose Triton it uses as well."""
    with Collector().running() as collector, second_triton(folder) as triton:
        first = own_triton(service)
        settings = {"triton_url": f"{first},{triton.entry}", "traces_url": collector.url}
        with RunningService(folder / "data", **settings) as spread:
            yield Spread(spread, first, triton, collector)


def own_triton(service: RunningService) -> str:
    """host:port of a service's embedded Triton."""
    for pid in service.descendants():
        command = Path(f"/proc/{pid}/cmdline").read_text()
        if found := re.search(r"tritonserver\0.*--grpc-port=(\d+)", command):
            return f"127.0.0.1:{found[1]}"
    message = "it has no Triton"
    raise AssertionError(message)


@contextmanager
def second_triton(folder: Path) -> Iterator[EmbeddedTriton]:
    """One more, started again when it dies, watched by a loop in a thread."""
    python = os.environ.get("LIKENESS_TEST_TRITON_PYTHON", PROJECT / ".venv-triton" / "bin" / "python")
    triton = EmbeddedTriton(
        python=Path(python), model_repository=PROJECT / "model_repository", data_dir=folder / "triton", log_dir=folder
    )
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(triton.__aenter__(), loop).result(120)
        try:
            yield triton
        finally:
            asyncio.run_coroutine_threadsafe(triton.__aexit__(None, None, None), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
