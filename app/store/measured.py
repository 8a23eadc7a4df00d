"""The client of Milvus with a clock: each of its calls is counted and timed."""

from __future__ import annotations

import asyncio
import functools
import logging
from functools import partial
from typing import Any, Self

from pymilvus import AsyncMilvusClient

from app.metrics import Calls, StoreMetrics
from app.store.milvus_errors import FOREIGN, NOT_LOADED, code_of, is_refusal
from app.store.outage import Outage
from app.store.version import version_of
from app.store.wall_clock import WallClock

_GRPC = {
    # Less often than servers allow by default (five minutes); more often they hang up on a client for it.
    "grpc.keepalive_time_ms": 600_000,
    "grpc.keepalive_permit_without_calls": False,
    # Without these a server that was away for long is looked for every two minutes only.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.max_reconnect_backoff_ms": 1000,
}

_ASK_TIMEOUT_S = 3.0
_WRITES = {"insert", "upsert", "delete"}
_OF_ROWS = _WRITES | {"query", "search"}


class MeasuredClient:
    """Stands for a client and does what it does; each method is one operation in the series.

    While Milvus is silent each raises BackendUnavailable at once.

    Attributes:
        clock: where the engine goes by the clock on the wall.

    Args:
        client: does the work.
        metrics: told of every call.
    """

    def __init__(self, client: AsyncMilvusClient, metrics: StoreMetrics) -> None:
        self._client = client
        self.clock: WallClock | None = None
        self._calls = Calls(metrics.total, metrics.seconds, _outcome)
        self._outage = Outage(partial(version_of, client, _ASK_TIMEOUT_S))

    @classmethod
    def of(cls, *, uri: str, token: str, database: str, timeout_s: float, metrics: StoreMetrics | None) -> Self:
        """A client that connects to ``uri`` with its first call."""
        # pymilvus logs a traceback for every failed call; what failed is told by our own errors.
        for name in ("pymilvus", "pymilvus.milvus_client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        client = AsyncMilvusClient(
            uri=uri, token=token, db_name=database, timeout=timeout_s, dedicated=True, grpc_options=_GRPC
        )
        return cls(client, metrics or StoreMetrics.unseen())

    async def close(self) -> None:
        """Closes the client."""
        await self._outage.close()
        await self._client.close()

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._client, operation)

        @functools.wraps(method)
        async def measured(*arguments: Any, **options: Any) -> Any:
            clock = self.clock if operation in _OF_ROWS else None
            if clock is not None:
                clock.check()
            try:
                with self._outage.watching(), self._calls.one(operation):
                    answer = await method(*arguments, **options)
            finally:
                if clock is not None and operation in _WRITES:
                    clock.wrote()
            if clock is not None:
                clock.check()  # it may have been set back under way
            return answer

        setattr(self, operation, measured)  # found without coming here from now on
        return measured


def _outcome(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "cancelled"
    if not isinstance(error, FOREIGN):
        return "failed"
    if code_of(error) == NOT_LOADED:
        return "not_loaded"  # as after a restart of Milvus; the call is made again once it is
    return "refused" if is_refusal(error) else "unavailable"
