"""How search, counts and listings grow with a group: latency and recall, beside a bare pymilvus call in the same run.

python -m loadtest.group_sizes --rows 10000 100000                                    # Milvus Lite, started here
python -m loadtest.group_sizes --rows 100000 1000000 --uri http://127.0.0.1:19530     # a server

Recall@10 is against the exact product. Beside it the table shows what one search through the store costs as a ratio to
the same search through pymilvus alone, taken in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
_QUERIES = 200
_HITS = 10
_TAGS = 10_000
_FAR = 1e6  # a bound that leaves nothing out
_INDEXED_TIMEOUT_S = 900.0
_HANDED_OVER_S = 10.0  # until the nodes that search have taken the index over
_UNSEALED = 4096  # the store leaves so many rows unsealed


@dataclass(frozen=True, slots=True)
class Measured:
    """What one group size gave; times in seconds."""

    rows: int
    filling: float
    first_count: float
    count: float
    tags: float
    listing: float
    search: NDArray[np.float64]
    bare: NDArray[np.float64]
    recall: float


def main() -> None:
    """Reads the arguments, measures and prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000], help="rows of the groups")
    parser.add_argument("--uri", default="", help="a Milvus server; without it Milvus Lite is started")
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.rows, arguments.uri))


async def _run(sizes: list[int], uri: str) -> None:
    print(
        "| rows | rows/s in | first info s | info ms | tag page ms | listing rows/s | search p50 ms | p95 ms "
        "| ratio to pymilvus | recall@10 |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    async with _milvus(uri) as address:
        for rows in sizes:
            async with GroupStore(uri=address, prefix="sizes", embedded=not uri, timeout_s=120) as store:
                _print(await _measure(store, address, rows))


@asynccontextmanager
async def _milvus(uri: str) -> AsyncIterator[str]:
    if uri:
        yield uri
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with EmbeddedMilvus(data_dir=folder / "data", log_dir=folder / "logs") as milvus:
            yield milvus.uri


def _print(found: Measured) -> None:
    p50, p95 = np.percentile(found.search, [50, 95]) * 1000
    ratio = float(np.median(found.search) / np.median(found.bare))
    print(
        f"| {found.rows:,} | {found.rows / found.filling:,.0f} | {found.first_count:.2f} | {found.count * 1000:.2f} "
        f"| {found.tags * 1000:.1f} | {found.rows / found.listing:,.0f} | {p50:.1f} | {p95:.1f} | {ratio:.2f} "
        f"| {found.recall:.3f} |",
        flush=True,
    )


async def _measure(store: GroupStore, uri: str, rows: int) -> Measured:
    group = f"of-{rows}"
    random = np.random.default_rng(rows)
    # Persons with some photos each, as face embeddings lie: the nearest rows are much nearer than the rest.
    persons = random.standard_normal((rows // 8 + 1, _DIMENSION), np.float32)
    vectors = persons[random.integers(0, len(persons), rows)]
    vectors += 0.4 * random.standard_normal((rows, _DIMENSION), np.float32)
    queries = vectors[random.integers(0, rows, _QUERIES)]
    queries += 0.4 * random.standard_normal((_QUERIES, _DIMENSION), np.float32)
    await store.create(Family.FACE, group, capacity=rows, space=EmbeddingSpace("made", _DIMENSION, Metric.L2))
    try:
        filling = await _seconds(lambda: fill(store, group, vectors, name=lambda number: f"{number:09d}", tags=_TAGS))
        async with _client(uri) as client:
            collection = await _collection(client, group)
            if (await store._connection.engine()).profile.unsealed_rows is not None:
                await _indexed(client, collection, rows)
            first_count = await _seconds(lambda: store.info(Family.FACE, group))
            count = await _seconds(lambda: store.info(Family.FACE, group))
            tags = await _seconds(lambda: store.tags(Family.FACE, group, after=None, limit=1000))
            found, search, bare = await _searches(store, client, collection, group, queries)
        listing = await _seconds(lambda: _walk(store, group))
        recall = _recall(found, _nearest(vectors, queries))
    finally:
        await store.remove(Family.FACE, group)
    return Measured(rows, filling, first_count, count, tags, listing, search, bare, recall)


async def _searches(
    store: GroupStore, client: AsyncMilvusClient, collection: str, group: str, queries: NDArray[np.float32]
) -> tuple[list[list[str]], NDArray[np.float64], NDArray[np.float64]]:
    """The ids that the store found, and the seconds of each search through the store and through pymilvus alone."""
    found: list[list[str]] = []
    times: tuple[list[float], list[float]] = ([], [])
    engine = await store._connection.engine()
    parameters = engine.profile.search_params(Metric.L2, limit=_HITS, bound=_FAR)
    for query in queries:

        async def through_store(query: NDArray[np.float32] = query) -> None:
            [hits] = await store.search(Family.FACE, group, query[np.newaxis], limit=_HITS, bound=_FAR)
            found.append([hit.row.id for hit in hits])

        async def alone(query: NDArray[np.float32] = query) -> None:
            await client.search(
                collection,
                data=[query],
                limit=_HITS,
                output_fields=["id", "tag", "desc", "bounding_box"],
                search_params=parameters,
                consistency_level=engine.profile.consistency,
            )

        for kept, work in zip(times, (through_store, alone), strict=True):
            kept.append(await _seconds(work))
    return found, np.array(times[0][10:]), np.array(times[1][10:])


@asynccontextmanager
async def _client(uri: str) -> AsyncIterator[AsyncMilvusClient]:
    client = AsyncMilvusClient(uri=uri, timeout=120, dedicated=True)
    try:
        yield client
    finally:
        await client.close()


async def _collection(client: AsyncMilvusClient, group: str) -> str:
    wanted = group.replace("-", "_d")
    return next(name for name in await client.list_collections() if name.startswith("sizes") and wanted in name)


async def _indexed(client: AsyncMilvusClient, collection: str, rows: int) -> None:
    """Waits until a server has sealed and indexed all but the newest rows."""
    deadline = time.monotonic() + _INDEXED_TIMEOUT_S
    while time.monotonic() < deadline:
        state = await client.describe_index(collection, VECTOR_FIELD)
        if int(state["indexed_rows"]) >= rows - _UNSEALED:
            break
        await asyncio.sleep(1)
    await asyncio.sleep(_HANDED_OVER_S)


async def _walk(store: GroupStore, group: str) -> None:
    after: str | None = None
    while (page := await store.rows(Family.FACE, group, tag=None, after=after, limit=1000)).after is not None:
        after = page.after


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


def _nearest(vectors: NDArray[np.float32], queries: NDArray[np.float32]) -> NDArray[np.int64]:
    """The numbers of the ten rows nearest to each query, by the exact product in blocks."""
    best = np.full((len(queries), _HITS), np.inf)
    numbers = np.zeros((len(queries), _HITS), np.int64)
    for start in range(0, len(vectors), 100_000):
        part = vectors[start : start + 100_000].astype(np.float64)
        distances = (part**2).sum(axis=1) - 2 * queries.astype(np.float64) @ part.T
        together = np.concatenate([best, distances], axis=1)
        names = np.concatenate([numbers, np.tile(np.arange(start, start + len(part)), (len(queries), 1))], axis=1)
        order = np.argsort(together, axis=1)[:, :_HITS]
        best, numbers = np.take_along_axis(together, order, 1), np.take_along_axis(names, order, 1)
    return numbers


def _recall(found: list[list[str]], nearest: NDArray[np.int64]) -> float:
    right = [len({int(name) for name in ids} & set(exact.tolist())) for ids, exact in zip(found, nearest, strict=True)]
    return float(np.mean(right)) / _HITS


if __name__ == "__main__":
    main()
