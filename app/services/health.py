"""Whether the parts that requests need answer at this moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from app.errors import BackendUnavailable
from app.inference.models import ServedModel
from app.inference.servers import TritonServers
from app.store.groups import GroupStore
from app.store.partition_keys import EngineFacts

OK = "ok"
_TIMEOUT_S = 2.0


class Health:
    """Asks every part.

    Args:
        store: asked for Milvus.
        models: each asked for itself, on Triton.
        servers: those of Triton.
    """

    def __init__(self, store: GroupStore, models: Sequence[ServedModel[Any]], servers: TritonServers) -> None:
        self._store = store
        self._models = models
        self._servers = servers

    async def parts(self) -> dict[str, str]:
        """Every part by name: ``ok``, or what is wrong with it."""
        answers = await asyncio.gather(self._milvus(), *(self._model(model) for model in self._models))
        return dict(answers)

    def tritons(self) -> dict[str, str]:
        """Every Triton server by address: ``ok``, or why it gets no work; empty where there is only one.

        Requests can be served while some of them are down.
        """
        servers = self._servers.servers
        return {server.address: server.problem or OK for server in servers} if len(servers) > 1 else {}

    def milvus(self) -> EngineFacts | None:
        """Which engine Milvus is; None until it has answered."""
        return self._store.facts()

    async def _milvus(self) -> tuple[str, str]:
        try:
            await self._store.ping()
        except BackendUnavailable:
            return "milvus", "does not answer"
        return "milvus", OK

    async def _model(self, model: ServedModel[Any]) -> tuple[str, str]:
        ready = await model.ready(timeout=_TIMEOUT_S)
        return f"triton:{model.name}", OK if ready else "is not served"
