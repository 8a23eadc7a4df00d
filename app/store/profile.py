"""What differs between Milvus engines; nothing else in the store asks which engine it speaks to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.store.records import Metric

_PARTITIONED_SINCE = (2, 6)
_MAX_RESULTS = 16_384  # a search's or query's offset + limit on a server


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """How to use one kind of engine.

    Attributes:
        engine: which kind it is.
        version: what it says of itself; None where it does not tell.
        index_type: vector index of group collections.
        index_params: parameters of that index.
        consistency: level of reads that must see this process's own writes.
        range_search: whether hits beyond the bound are left out by the engine. An exact index does this at no cost;
            an HNSW index would walk everything inside a wide bound, so there the cut comes after the search.
        unpartitioned: why ``tag`` cannot be the partition key, as a sentence; None where a trial shall tell.
        delete_barrier: whether a strong read must follow a delete: servers answer a delete without its timestamp,
            so a session read right after it can still see the rows (found on 2.3.5: 4 of 5 such reads).
        rows_per_answer: most full hits in one answer: a server refuses answers over 64 MiB, a row can have 70 KB.
        ids_per_answer: most bare hits in one answer, for the same reason: an id can have 4 KiB.
        unsealed_rows: rows that a group may get before the engine is asked to seal them; None where it need not be.
        embeddings_per_answer: most embeddings in one answer. Milvus Lite's time for them grows with the square of
            their number (128 numbers each: 1000 take 0.17 s, 10,000 take 11 s).
    """

    engine: str
    version: str | None
    index_type: str
    index_params: dict[str, int]
    consistency: str
    range_search: bool
    unpartitioned: str | None
    delete_barrier: bool
    rows_per_answer: int
    ids_per_answer: int
    embeddings_per_answer: int
    unsealed_rows: int | None

    @property
    def name(self) -> str:
        """Engine and version, for the log."""
        return f"{self.engine} {self.version}" if self.version is not None else self.engine

    @property
    def max_results(self) -> int:
        """Most hits of one query."""
        return _MAX_RESULTS

    def partitions(self, capacity: int) -> int | None:
        """Number of partitions for a group of that capacity, where its tag is the partition key.

        Milvus allows 65,536 shards times partitions in all: 16 leave room for 4,000 groups.
        """
        return 16 if capacity <= 1_000_000 else 64

    def search_params(self, metric: Metric, *, limit: int, bound: float) -> dict[str, object]:
        """Parameters of one search.

        Args:
            metric: the collection's metric.
            limit: hits per query.
            bound: largest L2 distance, or least similarity, that the caller wants.
        """
        params: dict[str, float] = {}
        if self.index_type == "HNSW":
            params["ef"] = max(256, limit)
        if self.range_search:
            # The engine's radius is exclusive and its L2 squared: a little room, the exact cut comes afterwards.
            if metric is Metric.L2 and bound < 1e9:
                params["radius"] = bound * bound * (1 + 1e-5) + 1e-9
            elif metric is Metric.COSINE and bound > -1:
                params["radius"] = bound - 1e-5
        return {"metric_type": metric.value, "params": params}


def _server(version: str, *, unpartitioned: str | None) -> EngineProfile:
    return EngineProfile(
        engine="Milvus",
        version=version,
        index_type="HNSW",
        index_params={"M": 16, "efConstruction": 200},
        consistency="Session",
        range_search=False,
        unpartitioned=unpartitioned,
        delete_barrier=True,
        rows_per_answer=800,
        ids_per_answer=_MAX_RESULTS,
        embeddings_per_answer=4096,  # 50 MB where ids are at their longest and embeddings have 2048 numbers
        unsealed_rows=4096,
    )


def profile_for(version: str | None) -> EngineProfile:
    """The profile of an engine.

    Args:
        version: what the engine says of itself, e.g. ``v2.6.4``; None where it does not know the question, as
            Milvus Lite 2.5.1 does not.
    """
    if version is None:
        return EngineProfile(
            engine="Milvus Lite",
            version=None,
            index_type="FLAT",
            index_params={},
            consistency="Strong",
            range_search=True,
            unpartitioned="Milvus Lite refuses filters on a partition key.",
            delete_barrier=False,
            rows_per_answer=_MAX_RESULTS,  # it sets no limit: this one is for memory
            ids_per_answer=10 * _MAX_RESULTS,
            embeddings_per_answer=512,
            unsealed_rows=None,
        )
    found = re.match(r"v?(\d+)\.(\d+)", version)
    release = (int(found[1]), int(found[2])) if found else (0, 0)
    # An upsert in 2.3.5 puts rows into the wrong partition (milvus issue 30607).
    old = None if release >= _PARTITIONED_SINCE else f"Milvus {version} is not known to be 2.6 or newer."
    return _server(version, unpartitioned=old)
