"""Asks an engine which version it is."""

from __future__ import annotations

import grpc
from pymilvus import AsyncMilvusClient

from app.store.milvus_errors import FOREIGN, status_of, translated


async def version_of(client: AsyncMilvusClient, timeout_s: float) -> str | None:
    """What the engine says; None where it does not know the question, as Milvus Lite does not.

    Raises:
        BackendUnavailable: it does not answer.
    """
    try:
        return str(await client.get_server_version(timeout=timeout_s))
    except FOREIGN as error:
        if isinstance(error, grpc.RpcError) and status_of(error) is grpc.StatusCode.UNIMPLEMENTED:
            return None
        raise translated(error) from error
