"""What a time to live costs: searches and additions with and without one, and a sweep under searches.

python -m loadtest.retention                                 # Milvus Lite, started here
python -m loadtest.retention --uri http://127.0.0.1:19530    # a server

Two groups of the same made vectors take turns. Then half of the rows that end are over, and while they are swept the
group is searched as fast as it goes.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable

import numpy as np
from numpy.typing import NDArray

from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Metric, Record, Row
from loadtest.made_vectors import made
from loadtest.merged_search import _milvus

_DIMENSION = 128
_TTL = 1000
_FAMILY = Family.IMAGE


class Watch:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        """The time, as far ahead as it was set."""
        return time.time() + self.ahead


def main() -> None:
    """Reads the arguments, measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of each group")
    parser.add_argument("--calls", type=int, default=200, help="searches and additions of each group")
    parser.add_argument("--uri", default="", help="a Milvus server; without it Milvus Lite is started")
    asyncio.run(_run(parser.parse_args()))


async def _run(arguments: argparse.Namespace) -> None:
    watch = Watch()
    async with _milvus(arguments.uri) as (uri, _):
        prefix = f"m{secrets.token_hex(3)}"
        store = GroupStore(uri=uri, prefix=prefix, embedded=not arguments.uri, timeout_s=120, clock=watch, sweep_s=9e9)
        async with store:
            await _measure(store, watch, arguments)


async def _measure(store: GroupStore, watch: Watch, arguments: argparse.Namespace) -> None:
    data = made("persons", arguments.rows, arguments.calls, _DIMENSION)
    groups = {"kept": None, "ends": _TTL}
    for group, ttl in groups.items():
        space = EmbeddingSpace("made", _DIMENSION, Metric.L2)
        await store.create(_FAMILY, group, capacity=arguments.rows, space=space, ttl_seconds=ttl)
    half = arguments.rows // 2
    for part, start in ((data.vectors[:half], 0), (data.vectors[half:], half)):
        for group in groups:
            await _fill(store, group, part, start)
        watch.ahead += _TTL / 2
    watch.ahead -= _TTL / 2
    searches: dict[str, list[float]] = {group: [] for group in groups}
    additions: dict[str, list[float]] = {group: [] for group in groups}
    for number, query in enumerate(data.queries):
        for group in groups:
            searches[group].append(await _timed(lambda g=group, q=query: _search(store, g, q)))
            record = Record(Row(f"new-{number:06d}", "t", "{}", None), query)
            additions[group].append(await _timed(lambda g=group, r=record: store.add(_FAMILY, g, r)))
    print("| group | search p50 ms | p95 | addition p50 ms | p95 |\n| --- | --- | --- | --- | --- |")
    for group in groups:
        print(f"| {group} | {_spread(searches[group])} | {_spread(additions[group])} |", flush=True)

    watch.ahead += _TTL / 2 + 1
    sweep = asyncio.create_task(store.sweep())
    waits: list[float] = []
    started = time.perf_counter()
    while not sweep.done():
        query = data.queries[len(waits) % len(data.queries)]
        waits.append(await _timed(lambda q=query: _search(store, "ends", q)))
    deleted, seconds = await sweep, time.perf_counter() - started
    print(
        f"\nSwept {deleted:,} rows in {seconds:.1f} s ({deleted / seconds:.0f} a second); searches meanwhile: "
        f"p50 {1000 * np.median(waits):.1f} ms, longest {1000 * max(waits):.0f} ms."
    )
    for group in groups:
        await store.remove(_FAMILY, group)


async def _fill(store: GroupStore, group: str, vectors: NDArray[np.float32], start: int) -> None:
    for at in range(0, len(vectors), 1000):
        some = vectors[at : at + 1000]
        rows = [Row(f"{start + at + number:09d}", "t", "{}", None) for number in range(len(some))]
        await store.add_many(_FAMILY, group, [Record(row, vector) for row, vector in zip(rows, some, strict=True)])


async def _search(store: GroupStore, group: str, query: NDArray[np.float32]) -> None:
    await store.search(_FAMILY, group, query[np.newaxis], limit=10, bound=1e9)


async def _timed(action: Callable[[], Awaitable[None]]) -> float:
    started = time.perf_counter()
    await action()
    return time.perf_counter() - started


def _spread(seconds: list[float]) -> str:
    middle, high = np.quantile(seconds, [0.5, 0.95])
    return f"{1000 * middle:.1f} | {1000 * high:.1f}"


if __name__ == "__main__":
    main()
