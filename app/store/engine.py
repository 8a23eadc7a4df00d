"""The adapter to Milvus: the only module that calls pymilvus, and where its errors end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from pymilvus import AsyncMilvusClient, DataType
from pymilvus.exceptions import MilvusException

from app.errors import BackendUnavailable, LikenessError
from app.metrics import StoreMetrics
from app.store import filters
from app.store.measured import MeasuredClient
from app.store.milvus_errors import FOREIGN, NOT_LOADED, UNAVAILABLE, is_of_missing, translated
from app.store.pending import PendingRows
from app.store.profile import EXACT, EngineProfile, VectorIndex, profile_for
from app.store.records import Metric
from app.store.shape import VECTOR_FIELD, Shape, schema_of
from app.store.version import version_of
from app.store.wall_clock import WallClock

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 3.0
_DEFINITION_TIMEOUT_S = 60.0  # creating and loading a collection takes seconds on a server

_log = logging.getLogger("likeness.store")


class Engine:
    """A connection to one Milvus.

    The client reconnects by itself. Every call has a time limit, loads its collection first where that was not done
    yet, and raises BackendUnavailable where Milvus does not answer, InternalError where it refuses the call.
    """

    def __init__(
        self, client: MeasuredClient, profile: EngineProfile, timeout_s: float, pending: PendingRows | None
    ) -> None:
        self._client = client
        self._pending = pending
        self._halves = pending.collections() if pending is not None else set()  # where a row may be missing
        self._finishing = asyncio.Lock()
        self._timeout_s = timeout_s
        self._loaded: set[str] = set()
        # Where a session sees all there is. It follows the writes that were answered here: not those of an earlier
        # process, nor one whose answer was lost; until a strong read has waited for them.
        self._followed: set[str] = set()
        self._lost = False
        self.profile = profile

    @classmethod
    async def connect(
        cls,
        *,
        uri: str,
        token: str,
        database: str,
        timeout_s: float,
        pending: Path | None = None,
        metrics: StoreMetrics | None = None,
    ) -> Self:
        """Connects and finds out which engine it is.

        Args:
            uri: where it is.
            token: token or ``user:password``, may be empty.
            database: Milvus database, empty for the default one.
            timeout_s: seconds that one call may take.
            pending: folder for replacements under way, where the engine may die with half of one done.
            metrics: told of every call.

        Raises:
            BackendUnavailable: it does not answer.
        """
        limit = min(timeout_s, _CONNECT_TIMEOUT_S)
        client = MeasuredClient.of(uri=uri, token=token, database=database, timeout_s=limit, metrics=metrics)
        try:
            profile = profile_for(await version_of(client, limit))
        except BaseException:
            await client.close()
            raise
        client.clock = WallClock() if profile.wall_clock else None
        _log.info("Connected to %s", profile.name)
        rows = PendingRows(pending, vectors=VECTOR_FIELD) if pending is not None else None
        return cls(client, profile, timeout_s, rows)

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.close()

    def lost_a_collection(self) -> bool:
        """Whether a collection that should be there was not, since this was last asked: the registry is out of date."""
        lost, self._lost = self._lost, False
        return lost

    def forget_loaded(self) -> None:
        """Loads collections again before their next use: for when the engine was restarted."""
        self._loaded.clear()
        self._followed.clear()

    def unfollow(self, collection: str) -> None:
        """The next read of a collection waits for what other processes have written."""
        self._followed.discard(collection)

    async def collections(self) -> list[str]:
        """Names of all collections."""
        return list(await self._call(lambda: self._client.list_collections(timeout=self._timeout_s)))

    async def has(self, collection: str, *, timeout_s: float | None = None) -> bool:
        """Whether a collection is there."""
        limit = timeout_s or self._timeout_s
        return bool(await self._call(lambda: self._client.has_collection(collection, timeout=limit)))

    async def shape(self, collection: str) -> Shape | None:
        """What a collection looks like; None where it is not there."""
        if not await self.has(collection):
            return None
        told = await self._call(lambda: self._client.describe_collection(collection, timeout=self._timeout_s))
        index = await self._call(lambda: self._client.describe_index(collection, VECTOR_FIELD, timeout=self._timeout_s))
        fields = {field["name"]: (field["type"], field.get("params", {})) for field in told["fields"]}
        kind, vector = fields.pop(VECTOR_FIELD, (None, {}))
        return Shape(
            key=next((field["name"] for field in told["fields"] if field.get("is_primary")), ""),
            texts={name: int(found["max_length"]) for name, (of, found) in fields.items() if of == DataType.VARCHAR},
            others=tuple(name for name, (of, _) in fields.items() if of != DataType.VARCHAR),
            dimension=int(vector["dim"]) if kind == DataType.FLOAT_VECTOR else None,
            metric=index["metric_type"] if index else None,
        )

    async def identity(self, collection: str) -> str:
        """What tells this collection from any other of that name, ever and anywhere."""
        told = await self._call(lambda: self._client.describe_collection(collection, timeout=self._timeout_s))
        return f"{told['collection_id']}-{told.get('created_timestamp', 0)}"

    async def create(
        self,
        collection: str,
        *,
        texts: Mapping[str, int],
        integers: Sequence[str] = (),
        dimension: int,
        metric: Metric,
        index: VectorIndex = EXACT,
        partitions: int | None = None,
    ) -> None:
        """Creates a collection and loads it.

        Args:
            collection: a name that is free.
            texts: VARCHAR fields and their most bytes; the first one is the primary key.
            integers: INT64 fields.
            dimension: length of the vectors in the field ``embedding``.
            metric: how they are compared.
            index: of the vectors.
            partitions: number of partitions by the field ``tag``, or None.
        """
        schema = schema_of(texts=texts, integers=integers, dimension=dimension, by_tag=partitions is not None)
        indexes = AsyncMilvusClient.prepare_index_params()
        indexes.add_index(VECTOR_FIELD, index_type=index.kind, metric_type=metric.value, params=index.params)
        options = {} if partitions is None else {"num_partitions": partitions}
        await self._call(
            lambda: self._client.create_collection(
                collection,
                schema=schema,
                index_params=indexes,
                consistency_level=self.profile.consistency,
                timeout=max(self._timeout_s, _DEFINITION_TIMEOUT_S),
                **options,
            )
        )
        self._loaded.add(collection)

    async def drop(self, collection: str) -> None:
        """Drops a collection; one that is not there is no error."""
        self._loaded.discard(collection)
        await self._call(lambda: self._client.drop_collection(collection, timeout=self._timeout_s))
        if self._pending is not None:
            self._pending.release(collection)
            self._halves.discard(collection)

    async def insert(self, collection: str, rows: Sequence[Mapping[str, object]]) -> None:
        """Adds rows whose keys are not there yet, all or none: Milvus does not check that.

        An insert is sent once: the client would repeat it when the connection is lost, and Milvus would then have two
        rows of one key where the first had arrived. (It repeats until its own timeout, where it is told of one.)
        """
        await self._write(collection, lambda: self._insert_once(collection, rows))

    async def upsert(self, collection: str, row: Mapping[str, object]) -> None:
        """Adds a row or replaces the one of the same key; readers of Milvus may see neither for a moment."""
        if self._pending is not None:
            await self._finish(collection)
            self._pending.hold(collection, row)
        try:
            await self._write(collection, lambda: self._client.upsert(collection, dict(row), timeout=self._timeout_s))
            if self._pending is not None:
                self._pending.release(collection)
        except BaseException:
            if self._pending is not None:
                self._halves.add(collection)
            raise

    async def delete(self, collection: str, field: str, keys: Sequence[str]) -> None:
        """Deletes the rows of these primary keys, which are known to be there.

        Raises:
            BackendUnavailable: also when Milvus confirms fewer: the client does not report a failed delete otherwise.
        """
        expression = filters.one_of(field, keys)
        answer = await self._write(
            collection, lambda: self._client.delete(collection, filter=expression, timeout=self._timeout_s)
        )
        # Milvus Lite lists the deleted keys, a server counts them.
        confirmed = len(answer) if isinstance(answer, list) else int(answer.get("delete_count", 0))
        if confirmed < len(keys):
            raise BackendUnavailable(UNAVAILABLE)
        if self.profile.delete_barrier:
            await self.query(collection, expression, [field], limit=1, strong=True)

    async def flush(self, collection: str) -> None:
        """Seals the rows written so far, so that a server builds its index over them."""
        limit = max(self._timeout_s, _DEFINITION_TIMEOUT_S)
        await self._use(collection, lambda: self._client.flush(collection, timeout=limit))

    async def query(
        self, collection: str, expression: str, fields: Sequence[str], *, limit: int | None, strong: bool = False
    ) -> list[dict[str, Any]]:
        """Up to ``limit`` rows that match, in key order.

        Where there are several rows of one key, only one of them is among the answer. A server cuts at the limit before
        it leaves the others out: so fewer rows than the limit do not mean that there are no more, only none does.

        Args:
            collection: where to look.
            expression: which rows; empty for all.
            fields: what to return of them.
            limit: most rows; None for all, where the expression names the keys.
            strong: whether to see what any client has written, not only this one.
        """
        level = "Strong" if strong else self._consistency(collection)
        return list(
            await self._read(
                collection,
                lambda: self._client.query(
                    collection,
                    filter=expression,
                    output_fields=list(fields),
                    # Without a limit, 2.3.5 leaves out rows where there are several of one key.
                    limit=self.profile.max_results if limit is None else limit,
                    consistency_level=level,
                    timeout=self._timeout_s,
                ),
            )
        )

    async def count(self, collection: str, expression: str, *, strong: bool = False) -> int:
        """Number of stored rows that match, where those of the same key count each; see ``query`` for ``strong``."""
        level = "Strong" if strong else self._consistency(collection)
        answer = await self._read(
            collection,
            lambda: self._client.query(
                collection,
                filter=expression,
                output_fields=["count(*)"],
                consistency_level=level,
                timeout=self._timeout_s,
            ),
        )
        return int(answer[0]["count(*)"])

    async def search(
        self,
        collection: str,
        vectors: NDArray[np.float32],
        *,
        metric: Metric,
        fields: Sequence[str],
        limit: int,
        bound: float,
        capacity: int,
        expression: str = "",
    ) -> list[list[tuple[float, dict[str, Any]]]]:
        """Nearest rows of each vector, best first.

        Args:
            collection: where to look.
            vectors: float32 [Q, D].
            metric: the collection's metric.
            fields: what to return besides the id.
            limit: most rows per vector.
            bound: rows beyond it may be left out.
            capacity: number of rows that the collection was made for.
            expression: which rows; empty for all.

        Returns:
            Per vector, pairs of the engine's measure (L2 squared, or cosine similarity) and the row's fields.
        """
        level = self._consistency(collection)
        params = self.profile.search_params(metric, limit=limit, bound=bound, capacity=capacity)
        answer = await self._read(
            collection,
            lambda: self._client.search(
                collection,
                data=list(vectors),
                filter=expression,
                limit=limit,
                output_fields=list(fields),
                search_params=params,
                consistency_level=level,
                timeout=self._timeout_s,
            ),
        )
        return [[(hit["distance"], {**hit["entity"], "id": hit["id"]}) for hit in hits] for hits in answer]

    def _consistency(self, collection: str) -> str:
        return self.profile.consistency if collection in self._followed else "Strong"

    async def _read(self, collection: str, action: Callable[[], Awaitable[T]]) -> T:
        answer = await self._use(collection, action)
        self._followed.add(collection)
        return answer

    async def _write(self, collection: str, action: Callable[[], Awaitable[T]]) -> T:
        followed = collection in self._followed
        self._followed.discard(collection)
        answer = await self._use(collection, action)
        if followed:
            self._followed.add(collection)
        return answer

    async def _finish(self, collection: str) -> None:
        """Puts a row back that a replacement has deleted and not inserted, as the engine died in between."""
        if self._pending is None or collection not in self._halves:
            return
        async with self._finishing:
            row = self._pending.row(collection) if collection in self._halves else None
            if row is not None:
                key = next(iter(row))
                which = filters.equals(key, str(row[key]))
                found = await self._loaded_call(
                    collection,
                    lambda: self._client.query(
                        collection,
                        filter=which,
                        output_fields=[key],
                        limit=1,
                        consistency_level="Strong",
                        timeout=self._timeout_s,
                    ),
                )
                if not found:
                    _log.warning("Finishing an update that was cut off in %s", collection)
                    await self._loaded_call(collection, lambda: self._insert_once(collection, [row]))
                self._pending.release(collection)
            self._halves.discard(collection)

    async def _insert_once(self, collection: str, rows: Sequence[Mapping[str, object]]) -> None:
        async with asyncio.timeout(self._timeout_s):
            await self._client.insert(collection, list(rows), retry_times=0)

    async def _use(self, collection: str, action: Callable[[], Awaitable[T]]) -> T:
        await self._finish(collection)
        return await self._loaded_call(collection, action)

    async def _loaded_call(self, collection: str, action: Callable[[], Awaitable[T]]) -> T:
        if collection not in self._loaded:
            await self._load(collection)
        try:
            return await action()
        except MilvusException as error:
            if error.code != NOT_LOADED:
                raise self._translated(error) from error
        except FOREIGN as error:
            raise self._translated(error) from error
        await self._load(collection)  # a server that was restarted may come back with its collections released
        return await self._call(action)

    async def _load(self, collection: str) -> None:
        limit = max(self._timeout_s, _DEFINITION_TIMEOUT_S)
        await self._call(lambda: self._client.load_collection(collection, timeout=limit))
        self._loaded.add(collection)

    async def _call(self, action: Callable[[], Awaitable[T]]) -> T:
        try:
            return await action()
        except FOREIGN as error:
            raise self._translated(error) from error

    def _translated(self, error: Exception) -> LikenessError:
        if is_of_missing(error):
            self._lost = True
        return translated(error)
