"""Recall and time of bare searches by HNSW's M and ef, on a group that is filled already."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pymilvus import AsyncMilvusClient

from app.store.shape import VECTOR_FIELD
from loadtest.made_vectors import recall

_TIMEOUT_S = 1800.0
_HANDED_OVER_S = 15.0  # until the nodes that search have taken the index over
_CONSTRUCTION = 200


async def indexed(client: AsyncMilvusClient, collection: str, rows: int) -> None:
    """Waits until a server has sealed and indexed so many rows."""
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline:
        state = await client.describe_index(collection, VECTOR_FIELD)
        if int(state["indexed_rows"]) >= rows and not int(state.get("pending_index_rows", 0)):
            break
        await asyncio.sleep(1)
    await asyncio.sleep(_HANDED_OVER_S)


async def sweep(
    client: AsyncMilvusClient,
    collection: str,
    queries: NDArray[np.float32],
    exact: NDArray[np.int64],
    *,
    links: Sequence[int],
    widths: Sequence[int],
) -> None:
    """Prints a table of all ``widths`` for the index that is there, then for one of each of ``links``; 0 is FLAT."""
    print(f"| M | ef | search p50 ms | p95 ms | recall@{exact.shape[1]} |\n| --- | --- | --- | --- | --- |")
    await _widths(client, collection, queries, exact, label="as it is", widths=widths)
    for number in links:
        await _rebuild(client, collection, number, rows=int(str((await _state(client, collection))["total_rows"])))
        await _widths(client, collection, queries, exact, label=str(number), widths=widths)
    print(flush=True)


async def _widths(
    client: AsyncMilvusClient,
    collection: str,
    queries: NDArray[np.float32],
    exact: NDArray[np.int64],
    *,
    label: str,
    widths: Sequence[int],
) -> None:
    for width in widths:
        found: list[list[str]] = []
        times: list[float] = []
        for query in queries:
            started = time.perf_counter()
            [hits] = await client.search(
                collection,
                data=[query],
                limit=exact.shape[1],
                search_params={"metric_type": "L2", "params": {"ef": width}},
                consistency_level="Session",
            )
            times.append(time.perf_counter() - started)
            found.append([hit["id"] for hit in hits])
        p50, p95 = np.percentile(times, [50, 95]) * 1000
        print(f"| {label} | {width} | {p50:.1f} | {p95:.1f} | {recall(found, exact):.4f} |", flush=True)


async def _state(client: AsyncMilvusClient, collection: str) -> dict[str, object]:
    return dict(await client.describe_index(collection, VECTOR_FIELD))


async def _rebuild(client: AsyncMilvusClient, collection: str, links: int, *, rows: int) -> None:
    await client.release_collection(collection)
    await client.drop_index(collection, VECTOR_FIELD)
    index = AsyncMilvusClient.prepare_index_params()
    params = {"M": links, "efConstruction": _CONSTRUCTION} if links else {}
    index.add_index(VECTOR_FIELD, index_type="HNSW" if links else "FLAT", metric_type="L2", params=params)
    await client.create_index(collection, index, timeout=_TIMEOUT_S)
    await indexed(client, collection, rows)
    await client.load_collection(collection, timeout=_TIMEOUT_S)
    await asyncio.sleep(_HANDED_OVER_S)
