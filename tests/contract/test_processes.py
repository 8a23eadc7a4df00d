"""Several service processes on one Milvus server: stores of their own, and a service with workers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from loadtest.hammer_processes import Place, hammer
from tests.contract.conftest import OpenStore
from tests.pictures import drawing_uri
from tests.running_service import ROOT, RunningService

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def server(uri: str) -> str:
    """The address of an engine that several processes can use."""
    if not uri.startswith("http"):
        pytest.skip("Milvus Lite is for one process: its folder is locked, and workers are refused")
    return uri


async def test_four_processes_and_a_kill_among_them_leave_what_each_was_told(
    server: str, open_store: OpenStore, tmp_path: Path
) -> None:
    open_store(prefix="fourprocesses")  # drops at the end what a killed process was making
    place = Place(server, "fourprocesses", str(tmp_path))
    done = await hammer(place, processes=4, rounds=2, calls=20, kill=True)
    assert done["killed"] == 2
    assert {"write", "delete", "read", "search"} <= set(done)


def _workers(service: RunningService) -> list[int]:
    children = Path(f"/proc/{service.pid}/task/{service.pid}/children").read_text().split()
    return [int(pid) for pid in children if b"worker" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")]


async def test_a_service_with_workers_answers_as_one_and_outlives_each_of_them(
    server: str, open_store: OpenStore, tmp_path: Path
) -> None:
    open_store(prefix="twoworkers")
    await asyncio.to_thread(_use_workers, server, tmp_path)


def _use_workers(server: str, folder: Path) -> None:
    settings = {"WORKERS": "2", "MILVUS_URI": server, "MILVUS_PREFIX": "twoworkers", "LOCKS": str(folder / "locks")}
    with RunningService(folder / "data", **settings) as service, ThreadPoolExecutor(8) as clients:

        def add(seed: int) -> int:
            image = {"id": f"i{seed % 8}", "uri": drawing_uri(seed % 8)}
            return service.call("POST", "/v1/image/groups/shared/add", {"image": image}).status

        group = "/v1/image/groups/shared"
        assert service.call("POST", group, {"config": {"capacity": 100}}).status == 200
        # Each id twice at once: one of both is the first, whichever worker it reached.
        assert sorted(clients.map(add, range(16))) == [200] * 8 + [409] * 8
        assert {service.call("GET", group).body["count"] for _ in range(8)} == {8}

        lines = b"".join(
            json.dumps({"image": {"id": f"j{number}", "uri": drawing_uri(number % 40)}}).encode() + b"\n"
            for number in range(400)
        )
        job = f"/v1/jobs/{service.call('POST', f'{group}/import', raw=lines).body['job']}"
        reports = [service.call("GET", job).body for _ in range(8)]  # from both
        assert {report["total"] for report in reports} == {400}
        first, _ = workers = _workers(service)
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 60
        while len(_workers(service)) < 2 or set(_workers(service)) == set(workers):
            assert time.monotonic() < deadline, service.log
            time.sleep(0.05)
        assert {service.call("GET", group).status for _ in range(8)} == {200}
        # Whoever has the import now, it is ended by whichever worker is asked.
        ended = service.call("POST", f"{job}/cancel").body
        assert ended["state"] in ("cancelled", "done")
        assert {service.call("GET", job).body["state"] for _ in range(8)} == {ended["state"]}
        stored = service.call("GET", group).body["count"]
        assert 8 + ended["done"] <= stored <= 8 + ended["done"] + 4  # what was under way at the kill
        assert service.stop() == 0
        assert "Worker 1 stopped" in service.log or "Worker 2 stopped" in service.log


async def test_workers_are_refused_with_the_embedded_database(tmp_path: Path) -> None:
    settings = {"LIKENESS_WORKERS": "2", "LIKENESS_DATA_DIR": str(tmp_path), "LIKENESS_MILVUS_URI": ""}
    refused = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app", "serve",
        cwd=ROOT, env={**os.environ, **settings}, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, said = await refused.communicate()
    assert refused.returncode == 1
    assert "name a Milvus server with LIKENESS_MILVUS_URI, or set LIKENESS_WORKERS to 1" in said.decode()
