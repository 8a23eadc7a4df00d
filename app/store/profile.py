"""What differs between Milvus engines; nothing else in the store asks which engine it speaks to."""

from __future__ import annotations

import re
from dataclasses import dataclass

from app.store.records import Metric

_WIDTH = 256  # of a search in a graph
_ENOUGH = 100_000  # rows up to which it finds more than 99 of 100 neighbours
_PARTITIONED_SINCE = (2, 6)
_MAX_RESULTS = 16_384  # a search's or query's offset + limit on a server


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """An index of vectors: Milvus's name of its kind, and the parameters it is built with."""

    kind: str
    params: dict[str, int]


EXACT = VectorIndex("FLAT", {})


@dataclass(frozen=True, slots=True)
class EngineProfile:
    """How to use one kind of engine.

    Attributes:
        engine: which kind it is.
        version: what it says of itself; None where it does not tell.
        exact: whether groups have an exact index, which suits any width of search; else a graph.
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
        queries_per_call: most queries of several searches that go to the engine as one call.
        searches_at_once: calls of like searches that may be under way at the same time.
        wall_clock: whether the engine shows rows by the time on the wall at which they were written.
    """

    engine: str
    version: str | None
    exact: bool
    consistency: str
    range_search: bool
    unpartitioned: str | None
    delete_barrier: bool
    rows_per_answer: int
    ids_per_answer: int
    embeddings_per_answer: int
    unsealed_rows: int | None
    queries_per_call: int
    searches_at_once: int
    wall_clock: bool = False

    @property
    def name(self) -> str:
        """Engine and version, for the log."""
        return f"{self.engine} {self.version}" if self.version is not None else self.engine

    @property
    def max_results(self) -> int:
        """Most hits of one query."""
        return _MAX_RESULTS

    @property
    def index(self) -> VectorIndex:
        """The index of a new group: a graph suits every size, see ``search_params``."""
        return EXACT if self.exact else VectorIndex("HNSW", {"M": 16, "efConstruction": 200})

    def partitions(self, capacity: int) -> int | None:
        """Number of partitions for a group of that capacity, where its tag is the partition key.

        Milvus allows 65,536 shards times partitions in all: 16 leave room for 4,000 groups.
        """
        return 16 if capacity <= 1_000_000 else 64

    def search_params(self, metric: Metric, *, limit: int, bound: float, capacity: int) -> dict[str, object]:
        """Parameters of one search.

        The width of a search in a graph follows the group's stated capacity, and leaves room for a group that holds
        more. Recall@10 by ef and rows, measured on 2.3.5 with ``loadtest.group_sizes`` on embeddings that lie as faces
        do (M 16, 128 numbers):

            ef      10,000    100,000   1,000,000
            64      0.998     0.990     0.984
            128     1.000     0.996     0.992
            256     1.000     0.999     0.995, and 0.988 where the same rows were filled in again
            512                         0.995 of the latter

        A server searches each of its segments by itself with that width (the million rows lay in 11 of them), so that
        more rows are more graphs rather than a larger one.

        Args:
            metric: the collection's metric.
            limit: hits per query.
            capacity: the number of rows that the group was made for.
            bound: largest L2 distance, or least similarity, that the caller wants.
        """
        params: dict[str, float] = {}
        if not self.exact:
            params["ef"] = max(_WIDTH if capacity <= _ENOUGH else 2 * _WIDTH, limit)
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
        exact=False,
        consistency="Session",
        range_search=False,
        unpartitioned=unpartitioned,
        delete_barrier=True,
        rows_per_answer=800,
        ids_per_answer=_MAX_RESULTS,
        embeddings_per_answer=4096,  # 50 MB where ids are at their longest and embeddings have 2048 numbers
        unsealed_rows=4096,
        queries_per_call=64,
        searches_at_once=1,
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
            exact=True,
            consistency="Strong",
            range_search=True,
            unpartitioned="Milvus Lite refuses filters on a partition key.",
            delete_barrier=False,
            rows_per_answer=_MAX_RESULTS,  # it sets no limit: this one is for memory
            ids_per_answer=10 * _MAX_RESULTS,
            embeddings_per_answer=512,
            unsealed_rows=None,
            queries_per_call=64,
            searches_at_once=1,
            wall_clock=True,
        )
    found = re.match(r"v?(\d+)\.(\d+)", version)
    release = (int(found[1]), int(found[2])) if found else (0, 0)
    # An upsert in 2.3.5 puts rows into the wrong partition (milvus issue 30607).
    old = None if release >= _PARTITIONED_SINCE else f"Milvus {version} is not known to be 2.6 or newer."
    return _server(version, unpartitioned=old)
