"""How search, counts and listings grow with a group: latency, recall and memory, beside bare pymilvus in the same run.

python -m loadtest.group_sizes --rows 10000 100000                                    # Milvus Lite, started here
python -m loadtest.group_sizes --rows 100000 1000000 --uri http://127.0.0.1:19530 --pid 4711   # a server

Each size is filled with each kind of ``made_vectors``: *persons*, which lie as faces do, and *isotropic*, the worst
case. Recall@10 is against the exact product. Beside it the table shows what one search through the store costs as a
ratio to the same search through pymilvus alone, taken in turns. ``--fill`` only fills, which takes minutes for a
million rows; a later run measures such a group and keeps it. ``--links`` and ``--widths`` also show recall and time of
bare searches by HNSW's M (the index is built anew for each) and ef.
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
from app.store.engine import Engine
from app.store.groups import GroupStore
from app.store.partition_keys import PartitionKeys
from app.store.records import BoundingBox, EmbeddingSpace, Family, Metric, Record, Row
from loadtest.index_width import indexed, sweep
from loadtest.made_vectors import KINDS, Made, made, nearest, recall
from loadtest.memory import child_of, resident_mb

_DIMENSION = 128
_QUERIES = 200
_WARM = 10
_TAGS = 10_000
_ROWS_AT_ONCE = 1000
_FAR = 1e6  # a bound that leaves nothing out
_BOX = BoundingBox(((0, 0), (9, 0), (9, 9), (0, 9)), 0.9)
_SPACE = EmbeddingSpace("made", _DIMENSION, Metric.L2)
_UNSEALED = 4096  # the store leaves so many rows unsealed


class _Partitioned(PartitionKeys):
    """A decision that is not the engine's: rows are only inserted here, which even 2.3.5 does right."""

    def __init__(self, prefix: str, partitions: int) -> None:
        super().__init__(prefix)
        self._partitions = partitions

    async def number(self, engine: Engine, capacity: int) -> int | None:  # noqa: ARG002
        return self._partitions


@dataclass(frozen=True, slots=True)
class Milvus:
    """Where it is, and the process whose memory is looked at; None where that is not known."""

    uri: str
    pid: int | None

    def memory(self) -> float:
        """Megabytes resident; not a number where the process is not known."""
        return resident_mb(self.pid) if self.pid is not None else float("nan")


def main() -> None:
    """Reads the arguments, measures and prints tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000], help="rows of the groups")
    parser.add_argument("--data", choices=KINDS, nargs="+", default=KINDS, help="kinds of made embeddings")
    parser.add_argument("--uri", default="", help="a Milvus server; without it Milvus Lite is started")
    parser.add_argument("--pid", type=int, help="the server's process, for its memory")
    parser.add_argument("--fill", action="store_true", help="only fill the groups, and keep them")
    parser.add_argument("--no-listings", action="store_true", help="leave out counts and listings")
    parser.add_argument("--partitions", type=int, default=0, help="make groups with so many partitions by tag")
    parser.add_argument("--widths", type=int, nargs="*", default=[], help="values of ef for bare searches")
    parser.add_argument("--hits", type=int, default=10, help="hits of each search, of which the recall is told")
    parser.add_argument("--links", type=int, nargs="*", default=[], help="values of M for bare searches; 0 is FLAT")
    asyncio.run(_run(parser.parse_args()))


async def _run(arguments: argparse.Namespace) -> None:
    async with _milvus(arguments.uri, arguments.pid) as milvus:
        for rows in arguments.rows:
            for kind in arguments.data:
                store = GroupStore(uri=milvus.uri, prefix="sizes", embedded=not arguments.uri, timeout_s=300)
                async with store:
                    if arguments.partitions:
                        store._connection.partition_keys = _Partitioned("sizes", arguments.partitions)
                    await _one(store, milvus, arguments, made(kind, rows, _QUERIES, _DIMENSION), kind)


async def _one(store: GroupStore, milvus: Milvus, arguments: argparse.Namespace, data: Made, kind: str) -> None:
    rows, group = (
        len(data.vectors),
        f"{kind}-{len(data.vectors)}" + f"-in-{arguments.partitions}" * bool(arguments.partitions),
    )
    found = group in await store.names(Family.FACE)
    engine = await store._connection.engine()
    async with _client(milvus.uri) as client:
        if not found:
            before, filling = milvus.memory(), await _seconds(lambda: _fill(store, group, data))
            collection = await _collection(store, group)
            waited = 0.0
            if engine.profile.unsealed_rows is not None:
                waited = await _seconds(lambda: indexed(client, collection, rows - _UNSEALED))
            grown = milvus.memory() - before
            _table(
                "| group | rows/s in | until indexed s | MB | bytes/row |",
                f"| {group} | {rows / filling:,.0f} | {waited:.0f} | {grown:,.0f} | {grown * 2**20 / rows:,.0f} |",
            )
        if arguments.fill:
            return
        collection = await _collection(store, group)
        if not arguments.no_listings:
            await _listings(store, group)
        exact = nearest(data.vectors, data.queries, arguments.hits)
        names, search, bare = await _searches(store, client, group, data.queries, limit=arguments.hits)
        in_tag = [await _seconds(lambda q=q: _in_tag(store, group, q)) for q in data.queries]
        p50, p95, tag = *np.percentile(search, [50, 95]) * 1000, np.median(in_tag) * 1000
        ratio = float(np.median(search) / np.median(bare))
        _table(
            f"| group | search p50 ms | p95 ms | ratio to pymilvus | recall@{arguments.hits} | in a tag p50 ms |",
            f"| {group} | {p50:.1f} | {p95:.1f} | {ratio:.2f} | {recall(names, exact):.4f} | {tag:.1f} |",
        )
        if arguments.widths:
            await sweep(client, collection, data.queries, exact, links=arguments.links, widths=arguments.widths)
    if not found:
        await store.remove(Family.FACE, group)


@asynccontextmanager
async def _milvus(uri: str, pid: int | None) -> AsyncIterator[Milvus]:
    if uri:
        yield Milvus(uri, pid)
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with EmbeddedMilvus(data_dir=folder / "data", log_dir=folder / "logs") as milvus:
            yield Milvus(milvus.uri, child_of(milvus.pid) if milvus.pid is not None else None)


def _table(heading: str, line: str) -> None:
    print(f"{heading}\n|{' --- |' * (heading.count('|') - 1)}\n{line}\n", flush=True)


async def _fill(store: GroupStore, group: str, data: Made) -> None:
    def record(number: int) -> Record:
        row = Row(f"{number:09d}", f"t{number % _TAGS}", f'{{"n":{number}}}', _BOX)
        return Record(row, data.vectors[number])

    rows = len(data.vectors)
    async with store.filling(Family.FACE, group, capacity=rows, space=_SPACE) as new:
        for start in range(0, rows, _ROWS_AT_ONCE):
            await new.add([record(number) for number in range(start, min(start + _ROWS_AT_ONCE, rows))])


async def _listings(store: GroupStore, group: str) -> None:
    async def all_tags() -> None:
        after: str | None = None
        while (page := await store.tags(Family.FACE, group, after=after, limit=1000)).after is not None:
            after = page.after

    async def all_rows() -> None:
        after: str | None = None
        while (page := await store.rows(Family.FACE, group, tag=None, after=after, limit=1000)).after is not None:
            after = page.after

    first = await _seconds(lambda: store.info(Family.FACE, group))
    info = await _seconds(lambda: store.info(Family.FACE, group))
    page = await _seconds(lambda: store.tags(Family.FACE, group, after=None, limit=1000))
    tags, rows = await _seconds(all_tags), await _seconds(all_rows)
    _table(
        "| group | first info s | info ms | first tags page ms | all tags ms | all rows s |",
        f"| {group} | {first:.2f} | {info * 1000:.2f} | {page * 1000:.2f} | {tags * 1000:.1f} | {rows:.1f} |",
    )


async def _searches(
    store: GroupStore, client: AsyncMilvusClient, group: str, queries: NDArray[np.float32], *, limit: int
) -> tuple[list[list[str]], NDArray[np.float64], NDArray[np.float64]]:
    """The ids that the store found, and the seconds of each search through the store and through pymilvus alone."""
    found: list[list[str]] = []
    times: tuple[list[float], list[float]] = ([], [])
    collection = await _collection(store, group)
    engine = await store._connection.engine()
    capacity = (await store.info(Family.FACE, group)).capacity
    parameters = engine.profile.search_params(Metric.L2, limit=limit, bound=_FAR, capacity=capacity)
    for query in queries:

        async def through_store(query: NDArray[np.float32] = query) -> None:
            [hits] = await store.search(Family.FACE, group, query[np.newaxis], limit=limit, bound=_FAR)
            found.append([hit.row.id for hit in hits])

        async def alone(query: NDArray[np.float32] = query) -> None:
            await client.search(
                collection,
                data=[query],
                limit=limit,
                output_fields=["id", "tag", "desc", "bounding_box"],
                search_params=parameters,
                consistency_level=engine.profile.consistency,
            )

        for kept, work in zip(times, (through_store, alone), strict=True):
            kept.append(await _seconds(work))
    return found, np.array(times[0][_WARM:]), np.array(times[1][_WARM:])


async def _in_tag(store: GroupStore, group: str, query: NDArray[np.float32]) -> None:
    await store.search(Family.FACE, group, query[np.newaxis], limit=10, bound=_FAR, tags=["t7"])


@asynccontextmanager
async def _client(uri: str) -> AsyncIterator[AsyncMilvusClient]:
    client = AsyncMilvusClient(uri=uri, timeout=300, dedicated=True)
    try:
        yield client
    finally:
        await client.close()


async def _collection(store: GroupStore, group: str) -> str:
    return (await store._access.group(Family.FACE, group)).registration.collection


async def _seconds(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
