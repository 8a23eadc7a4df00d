"""What an image, and a search of a Milvus server, costs in time of processor cores: what `likeness plan` counts with.

python -m loadtest.core_cost images PHOTOS --pid PID --images 400              # of a running service, by its parts
python -m loadtest.core_cost searches --uri URI --pid PID --rows 100000        # of a server; makes and removes a group

Times of cores, unlike latencies, add up: the parts of many images at once, on as many machines as wished.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import os
import secrets
import time
from collections import Counter
from collections.abc import Awaitable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pymilvus import MilvusClient

from app.commands.image_list import SUFFIXES
from app.commands.service import Service, group_path, open_service
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Metric, Record, Row

_AT_ONCE = 8
_READ_TIMEOUT_S = 120.0
_DIMENSION = 128
_HITS = 10
_QUERIES = 2000
_WARM_UP = 64
_ROWS_AT_ONCE = 2000
_IDLE_S = 10.0
_QUIET_CORES = 0.3  # a server that uses less has built its indexes, and the nodes that search have taken them over
_LONGEST_SETTLING = 40  # times _IDLE_S
_TICKS = os.sysconf("SC_CLK_TCK")
_PARTS = {"tritonserver": "Triton", "triton_python_b": "Triton", "milvus": "Milvus"}


def main() -> None:
    """Reads the arguments, measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = parser.add_subparsers(required=True, dest="kind")
    images = kinds.add_parser("images", help="faces of photos, searched in an empty group")
    images.add_argument("photos", type=Path, help="folder of photos")
    images.add_argument("--images", type=int, default=400, help="searches; photos are repeated")
    images.add_argument("--url", default="http://127.0.0.1:8000")
    searches = kinds.add_parser("searches", help="searches of a group of made embeddings")
    searches.add_argument("--rows", type=int, default=100_000)
    searches.add_argument("--uri", required=True, help="a Milvus server")
    for each in (images, searches):
        each.add_argument("--pid", type=int, required=True, help="the process of the service, or of the server")
    arguments = parser.parse_args()
    asyncio.run(_images(arguments) if arguments.kind == "images" else _searches(arguments))


async def _images(arguments: argparse.Namespace) -> None:
    files = sorted(path for path in arguments.photos.rglob("*") if path.suffix.lower() in SUFFIXES)
    uris = ["data:;base64," + base64.b64encode(path.read_bytes()).decode() for path in files]
    chosen = [uris[number % len(uris)] for number in range(arguments.images)]
    path = group_path("face", f"cost-{secrets.token_hex(4)}")
    async with open_service(arguments.url, connections=_AT_ONCE, read_timeout_s=_READ_TIMEOUT_S) as service:
        assert (await service.call("POST", path, {"config": {"capacity": 1000}})).status == 200
        await _search_all(service, path, chosen[:_WARM_UP])
        before = _seconds_by_part(arguments.pid)
        await _search_all(service, path, chosen)
        spent = _seconds_by_part(arguments.pid)
        spent.subtract(before)
        await service.call("POST", f"{path}/remove")
    for part, seconds in sorted(spent.items()):
        print(f"{part:<8} {seconds * 1000 / len(chosen):7.2f} core-ms an image")


async def _search_all(service: Service, path: str, uris: list[str]) -> None:
    left = list(uris)

    async def worker() -> None:
        while left:
            reply = await service.call("POST", f"{path}/search", {"images": [left.pop()]})
            assert reply.status == 200, reply.error

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(worker())


async def _searches(arguments: argparse.Namespace) -> None:
    generator = np.random.default_rng(7)
    space = EmbeddingSpace("made", _DIMENSION, Metric.L2)
    name = f"cost-{secrets.token_hex(4)}"
    start = _resident(arguments.pid)
    async with GroupStore(uri=arguments.uri, prefix="cost", embedded=False, timeout_s=300) as store:
        async with store.filling(Family.FACE, name, capacity=arguments.rows, space=space) as new:
            for first in range(0, arguments.rows, _ROWS_AT_ONCE):
                count = min(_ROWS_AT_ONCE, arguments.rows - first)
                await new.add(_records(first, _vectors(generator, count)))
        queries = _vectors(generator, _QUERIES)
        await _search(store, name, queries[:_WARM_UP])
        idle = await _settled(arguments.pid)
        await _search(store, name, queries[:_WARM_UP])
        began = time.monotonic()
        spent = await _spent(arguments.pid, _search(store, name, queries))
        spent -= idle * (time.monotonic() - began)  # what the server does all the time is not the searches'
        grown = _resident(arguments.pid) - start
        segments = _segments(arguments.uri, name)
        await store.remove(Family.FACE, name)
    print(f"{spent * 1000 / _QUERIES:.2f} core-ms a search, {arguments.rows:,} rows in segments of {segments}")
    print(f"{idle:.2f} cores at work without searches, which were taken off: trust the figure only where they are few")
    print(f"{grown / arguments.rows:.0f} bytes a row resident, with all that the server keeps beside them")


async def _settled(pid: int) -> float:
    """Waits for a server that is busy with what it was given; the cores that it uses then."""
    idle = 0.0
    for _ in range(_LONGEST_SETTLING):
        idle = await _spent(pid, asyncio.sleep(_IDLE_S)) / _IDLE_S
        if idle < _QUIET_CORES:
            break
    return idle


def _segments(uri: str, name: str) -> list[int]:
    """Rows of each loaded segment of a group."""
    client = MilvusClient(uri)
    mark = name.partition("-")[2]
    [collection] = [each for each in client.list_collections() if each.startswith("cost") and mark in each]
    return sorted(int(each.num_rows) for each in client.list_loaded_segments(collection))


async def _search(store: GroupStore, name: str, queries: NDArray[np.float32]) -> None:
    left = list(queries)

    async def worker() -> None:
        while left:
            await store.search(Family.FACE, name, left.pop()[None], limit=_HITS, bound=1e6)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(worker())


async def _spent(pid: int, work: Awaitable[None]) -> float:
    """Seconds of cores that a process spends while something is done."""
    before = _seconds_by_part(pid).total()
    await work
    return _seconds_by_part(pid).total() - before


def _vectors(generator: np.random.Generator, count: int) -> NDArray[np.float32]:
    made = generator.standard_normal((count, _DIMENSION), np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def _records(first: int, vectors: NDArray[np.float32]) -> list[Record]:
    return [Record(Row(f"{first + n:09d}", f"t{n % 100}", "{}", None), vector) for n, vector in enumerate(vectors)]


def _seconds_by_part(pid: int) -> Counter[str]:
    """Seconds of cores that a process and all below it have used, by the part of the service that each belongs to."""
    used: Counter[str] = Counter()
    parents: dict[int, int] = {}
    stats: dict[int, tuple[str, float]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                head, _, tail = (entry / "stat").read_text().rpartition(")")
            except OSError:  # it has ended
                continue
            fields = tail.split()
            parents[int(entry.name)] = int(fields[1])
            stats[int(entry.name)] = head.partition("(")[2], (int(fields[11]) + int(fields[12])) / _TICKS
    family = {pid}
    while new := {child for child, parent in parents.items() if parent in family} - family:
        family |= new
    for each in family:
        command, seconds = stats[each]
        used[_PARTS.get(command, "service")] += seconds  # type: ignore[assignment]  # a Counter holds floats as well
    return used


def _resident(pid: int) -> int:
    line = next(each for each in Path(f"/proc/{pid}/status").read_text().splitlines() if each.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
