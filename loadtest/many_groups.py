"""What many groups cost: seconds and memory for each, and the first use of each after Milvus was started again.

python -m loadtest.many_groups --groups 50                                   # Milvus Lite, started here
python -m loadtest.many_groups --groups 200 --uri http://127.0.0.1:19530 --pid 4711 --keep        # a server
python -m loadtest.many_groups --groups 200 --uri http://127.0.0.1:19530 --pid 4712 --again       # restarted meanwhile

Each group gets a hundred rows of 128 numbers. On a server the restart is the operator's: once after ``--keep``.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.embedded.milvus import EmbeddedMilvus
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Metric, Record, Row
from loadtest.made_vectors import made
from loadtest.memory import child_of, resident_mb

_SPACE = EmbeddingSpace("made", 128, Metric.L2)
_ROWS = 100
_FAR = 1e6
_TOLD_EVERY = 50


def main() -> None:
    """Reads the arguments, measures and prints tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--groups", type=int, default=50, help="number of groups")
    parser.add_argument("--uri", default="", help="a Milvus server; without it Milvus Lite is started")
    parser.add_argument("--pid", type=int, help="the server's process, for its memory")
    parser.add_argument("--keep", action="store_true", help="leave the groups on the server")
    parser.add_argument("--again", action="store_true", help="the groups are there: only use each for the first time")
    arguments = parser.parse_args()
    asyncio.run(_server(arguments) if arguments.uri else _lite(arguments.groups))


async def _server(arguments: argparse.Namespace) -> None:
    async with GroupStore(uri=arguments.uri, prefix="many", embedded=False, timeout_s=120) as store:
        if not arguments.again:
            await _make(store, arguments.groups, arguments.pid)
        if arguments.again or not arguments.keep:
            await _use(store, arguments.groups, arguments.pid)
        if not arguments.keep:
            await _remove(store, arguments.groups)


async def _lite(groups: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folders = {"data_dir": Path(name) / "data", "log_dir": Path(name) / "logs"}
        for again in (False, True):
            started = time.perf_counter()
            async with EmbeddedMilvus(**folders) as milvus:
                print(f"Milvus Lite answers after {time.perf_counter() - started:.1f} s")
                pid = child_of(milvus.pid) if milvus.pid is not None else None
                async with GroupStore(uri=milvus.uri, prefix="many", embedded=True, timeout_s=120) as store:
                    await (_use if again else _make)(store, groups, pid)


async def _make(store: GroupStore, groups: int, pid: int | None) -> None:
    vectors = made("persons", _ROWS, 1, _SPACE.dimension).vectors
    await store.names(Family.FACE)
    before = _memory(pid)
    times = []
    for number in range(groups):
        times.append(await _seconds(lambda n=number: _fill(store, n, vectors)))  # type: ignore[misc]
        if len(times) % _TOLD_EVERY == 0 and len(times) < groups:
            _print("made and filled", len(times), times, before, _memory(pid))
    _print("made and filled", groups, times, before, _memory(pid))


async def _fill(store: GroupStore, number: int, vectors: NDArray[np.float32]) -> None:
    async with store.filling(Family.FACE, f"group-{number}", capacity=10_000, space=_SPACE) as new:
        await new.add([Record(Row(str(row), "t", "{}", None), vector) for row, vector in enumerate(vectors)])


async def _use(store: GroupStore, groups: int, pid: int | None) -> None:
    query = made("persons", _ROWS, 1, _SPACE.dimension).queries
    before = _memory(pid)

    async def search(number: int) -> None:
        await store.search(Family.FACE, f"group-{number}", query, limit=10, bound=_FAR)

    print(f"the registry is read after {await _seconds(lambda: store.names(Family.FACE)):.1f} s")
    for what in ("searched first", "searched again"):
        times = [await _seconds(lambda n=number: search(n)) for number in range(groups)]  # type: ignore[misc]
        _print(what, groups, times, before, _memory(pid))


async def _remove(store: GroupStore, groups: int) -> None:
    times = [await _seconds(lambda n=number: store.remove(Family.FACE, f"group-{n}")) for number in range(groups)]  # type: ignore[misc]
    _print("removed", groups, times, float("nan"), float("nan"))


def _print(what: str, groups: int, times: list[float], before: float, after: float) -> None:
    first, p50, last = times[0], float(np.median(times)), float(np.median(times[-10:]))
    print(
        f"| {what} | {groups} groups | {sum(times):.1f} s in all | first {first:.3f} s | median {p50:.3f} s "
        f"| last ten {last:.3f} s | longest {max(times):.2f} s | {before:,.0f} MB, then {after:,.0f} MB |",
        flush=True,
    )


def _memory(pid: int | None) -> float:
    return resident_mb(pid) if pid is not None else float("nan")


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
