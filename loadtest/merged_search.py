"""How many searches a second one group answers at 1, 8 and 32 at a time: the store beside bare pymilvus, in turns.

python -m loadtest.merged_search --rows 20000 100000                                  # Milvus Lite, started here
python -m loadtest.merged_search --rows 20000 100000 --uri http://127.0.0.1:19530     # a server

Each search has one query. The store merges those that come while one is under way; bare pymilvus sends each by itself,
as many at a time. Both ask for whole rows. The ratio is that of the medians over the rounds. Processor time, of this
process and of the engine's (``--engine-pid`` for a server), says what a search costs also where others use the machine.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pymilvus import AsyncMilvusClient

from app.embedded.milvus import EmbeddedMilvus
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Metric
from app.store.shape import VECTOR_FIELD
from loadtest.compare_groups import fill

_DIMENSION = 128
_BOUND = 8.0  # photos of one person are 6.4 apart in the mean, those of two 17
_INDEXED_TIMEOUT_S = 300.0
_HANDED_OVER_S = 10.0  # until the nodes that search have taken the index over

Search = Callable[[NDArray[np.float32]], Awaitable[list[str]]]


def main() -> None:
    """Reads the arguments, measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[20_000, 100_000], help="rows of the groups")
    parser.add_argument("--at-once", type=int, nargs="+", default=[1, 8, 32], help="searches at a time")
    parser.add_argument("--searches", type=int, default=320, help="searches of one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--limit", type=int, default=10)
    parser.add_argument("--uri", default="", help="a Milvus server; without it Milvus Lite is started")
    parser.add_argument("--engine-pid", type=int, default=0, help="process of that server")
    asyncio.run(_run(parser.parse_args()))


async def _run(arguments: argparse.Namespace) -> None:
    print(
        "| rows | at once | store /s | pymilvus /s | ratio | store CPU ms | pymilvus CPU ms | same ids |\n"
        "| --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    async with _milvus(arguments.uri) as (uri, pid):
        arguments.engine_pid = arguments.engine_pid or pid
        for rows in arguments.rows:
            store = GroupStore(uri=uri, prefix=f"m{secrets.token_hex(3)}", embedded=not arguments.uri, timeout_s=120)
            async with store:
                await _measure(store, uri, rows, arguments)


@asynccontextmanager
async def _milvus(uri: str) -> AsyncIterator[tuple[str, int]]:
    """Its address, and its process where it is known."""
    if uri:
        yield uri, 0
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with EmbeddedMilvus(data_dir=folder / "data", log_dir=folder / "logs") as milvus:
            yield milvus.uri, _program(milvus.pid)


def _program(guard: int | None) -> int:
    """The engine itself, which the process that the service starts watches."""
    [program] = Path(f"/proc/{guard}/task/{guard}/children").read_text().split()
    return int(program)


async def _measure(store: GroupStore, uri: str, rows: int, arguments: argparse.Namespace) -> None:
    group, limit, arguments.size = f"of-{rows}", arguments.limit, rows
    random = np.random.default_rng(rows)
    vectors = random.standard_normal((rows // 8 + 1, _DIMENSION), np.float32)[random.integers(0, rows // 8 + 1, rows)]
    vectors += 0.4 * random.standard_normal((rows, _DIMENSION), np.float32)
    queries = vectors[random.integers(0, rows, arguments.searches)]
    queries += 0.4 * random.standard_normal((arguments.searches, _DIMENSION), np.float32)
    await store.create(Family.FACE, group, capacity=rows, space=EmbeddingSpace("made", _DIMENSION, Metric.L2))
    client = AsyncMilvusClient(uri=uri, timeout=120, dedicated=True)
    try:
        await fill(store, group, vectors, name=lambda number: f"{number:09d}")
        profile = (await store._connection.engine()).profile
        collection = (await store._connection.groups())[Family.FACE, group].registration.collection
        if profile.unsealed_rows is not None:
            await _indexed(client, collection, rows - profile.unsealed_rows)

        async def through_store(query: NDArray[np.float32]) -> list[str]:
            [hits] = await store.search(Family.FACE, group, query[np.newaxis], limit=limit, bound=_BOUND)
            return [hit.row.id for hit in hits]

        async def bare(query: NDArray[np.float32]) -> list[str]:
            [hits] = await client.search(
                collection,
                data=[query],
                limit=limit,
                output_fields=["id", "tag", "desc", "bounding_box"],
                search_params=profile.search_params(Metric.L2, limit=limit, bound=_BOUND, capacity=rows),
                consistency_level=profile.consistency,
            )
            return [hit["id"] for hit in hits if hit["distance"] <= _BOUND**2]  # which a server does not cut at

        for at_once in arguments.at_once:
            await _compare(through_store, bare, queries, at_once, arguments)
    finally:
        await client.close()
        await store.remove(Family.FACE, group)


async def _compare(
    through_store: Search, bare: Search, queries: NDArray[np.float32], at_once: int, arguments: argparse.Namespace
) -> None:
    rates: dict[Search, list[float]] = {through_store: [], bare: []}
    costs: dict[Search, float] = {through_store: 0.0, bare: 0.0}
    found: dict[Search, list[list[str]]] = {}
    for _ in range(arguments.rounds):
        for search, kept in rates.items():
            started, used = time.perf_counter(), _processor_time(arguments.engine_pid)
            found[search] = await _all(search, queries, at_once)
            kept.append(len(queries) / (time.perf_counter() - started))
            costs[search] += _processor_time(arguments.engine_pid) - used
    ours, theirs = (float(np.median(kept)) for kept in rates.values())
    same = np.mean([one == other for one, other in zip(*found.values(), strict=True)])
    cost, bare_cost = (1000 * cost / len(queries) / arguments.rounds for cost in costs.values())
    print(
        f"| {arguments.size:,} | {at_once} | {ours:.0f} | {theirs:.0f} | {ours / theirs:.2f} | {cost:.2f} "
        f"| {bare_cost:.2f} | {same:.0%} |",
        flush=True,
    )


def _processor_time(engine: int) -> float:
    """Seconds that this process and the engine have computed."""
    if not engine:
        return time.process_time()
    fields = Path(f"/proc/{engine}/stat").read_text().rpartition(")")[2].split()
    return time.process_time() + (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def _all(search: Search, queries: NDArray[np.float32], at_once: int) -> list[list[str]]:
    """What each query finds, with so many searches at a time."""
    found: list[list[str]] = [[] for _ in queries]
    left = iter(range(len(queries)))

    async def worker() -> None:
        for number in left:
            found[number] = await search(queries[number])

    await asyncio.gather(*(worker() for _ in range(at_once)))
    return found


async def _indexed(client: AsyncMilvusClient, collection: str, rows: int) -> None:
    """Waits until a server has sealed and indexed so many rows."""
    deadline = time.monotonic() + _INDEXED_TIMEOUT_S
    while time.monotonic() < deadline:
        if int((await client.describe_index(collection, VECTOR_FIELD))["indexed_rows"]) >= rows:
            break
        await asyncio.sleep(1)
    await asyncio.sleep(_HANDED_OVER_S)


if __name__ == "__main__":
    main()
