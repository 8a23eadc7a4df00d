"""A service on two real Tritons, one of which is killed, and then stopped for a while, under load."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tritonclient.grpc import InferenceServerClient
from tritonclient.utils import InferenceServerException

from app.config import PROJECT
from app.embedded.triton import EmbeddedTriton
from tests.pictures import drawing_uri
from tests.running_service import RunningService, fresh_group

WORKERS = 6


def test_a_triton_that_is_killed_or_hangs_costs_no_request_and_gets_work_again(
    tmp_path: Path, service: RunningService
) -> None:
    steady = own_triton(service)
    with second_triton(tmp_path) as triton:
        settings = {"triton_url": f"{steady},{triton.url}"}
        with RunningService(tmp_path / "data", **settings) as spread, fresh_group(spread, "image", "spread") as group:
            assert spread.call("POST", f"{group}/add", {"image": {"uri": drawing_uri(0)}}).status == 200
            with load(spread, group) as replies:
                until(lambda: batches(steady) > 5 and batches(triton.url) > 5, "both get work")

                killed = program(triton)
                os.kill(killed, signal.SIGKILL)
                until(lambda: batches(triton.url) > 5 and program(triton) != killed, "the one started again gets work")

                os.kill(program(triton), signal.SIGSTOP)
                until(lambda: state(spread, triton.url) == "does not answer", "it is found to hang")
                assert spread.call("GET", "/health/ready").status == 200
                os.kill(program(triton), signal.SIGCONT)
                before = batches(triton.url)
                until(lambda: batches(triton.url) > before + 5, "the one that goes on gets work")
            assert set(replies) == {200}, spread.log
            assert f"The Triton at {triton.url} does not answer" in spread.log


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


def program(triton: EmbeddedTriton) -> int:
    """Process id of the server itself, which its guard started; 0 while there is none."""
    guard = triton.pid
    children = Path(f"/proc/{guard}/task/{guard}/children").read_text().split() if guard is not None else []
    return int(children[0]) if children else 0


@contextmanager
def load(service: RunningService, group: str) -> Iterator[Counter[int]]:
    """Searches all the time; yields how often each status was answered."""
    statuses: Counter[int] = Counter()
    ended = threading.Event()

    def search(seed: int) -> None:
        body = {"images": [drawing_uri(seed)]}
        while not ended.is_set():
            statuses[service.call("POST", f"{group}/search", body).status] += 1

    with ThreadPoolExecutor(WORKERS) as pool:
        workers = [pool.submit(search, seed) for seed in range(WORKERS)]
        try:
            yield statuses
        finally:
            ended.set()
            for worker in workers:
                worker.result()


def batches(address: str) -> int:
    """Calls of the image model that a server answered since it started."""
    with InferenceServerClient(address) as client:
        try:
            return int(
                client.get_inference_statistics("image_embedder", client_timeout=5).model_stats[0].execution_count
            )
        except InferenceServerException:
            return 0


def state(service: RunningService, address: str) -> str:
    states: dict[str, str] = service.call("GET", "/health/ready").body["tritons"]
    return states[address]


def until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)
