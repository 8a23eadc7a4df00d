"""A service on two real Tritons, one of which is killed, and then stopped for a while, under load."""

from __future__ import annotations

import os
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

from app.embedded.triton import EmbeddedTriton
from tests.pictures import drawing_uri
from tests.running_service import RunningService, fresh_group
from tests.spread_service import Spread

WORKERS = 6


def test_a_triton_that_is_killed_or_hangs_costs_no_request_and_gets_work_again(spread: Spread) -> None:
    service, triton = spread.service, spread.second
    with fresh_group(service, "image", "spread") as group:
        assert service.call("POST", f"{group}/add", {"image": {"uri": drawing_uri(0)}}).status == 200
        with load(service, group) as replies:
            until(lambda: batches(spread.first) > 5 and batches(triton.url) > 5, "both get work")

            killed = program(triton)
            os.kill(killed, signal.SIGKILL)
            until(lambda: batches(triton.url) > 5 and program(triton) != killed, "the one started again gets work")

            os.kill(program(triton), signal.SIGSTOP)
            until(lambda: state(service, triton.url) == "does not answer", "it is found to hang")
            assert service.call("GET", "/health/ready").status == 200
            os.kill(program(triton), signal.SIGCONT)
            before = batches(triton.url)
            until(lambda: batches(triton.url) > before + 5, "the one that goes on gets work")
        assert set(replies) == {200}, service.log
        assert f"The Triton at {triton.url} does not answer" in service.log


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
