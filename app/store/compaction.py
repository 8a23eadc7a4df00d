"""What a server keeps in its segment files, and having it rewrite them without the rows that were deleted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from app.errors import BackendUnavailable
from app.store.measured import MeasuredClient
from app.store.milvus_errors import FOREIGN, UNAVAILABLE, translated

T = TypeVar("T")

_LOOK_S = 0.2
_DONE = "Completed"


class Compaction:
    """Compacts collections of one server.

    Args:
        client: the connection.
        timeout_s: seconds that one call may take.
    """

    def __init__(self, client: MeasuredClient, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s

    async def close(self) -> None:
        """Closes the connection."""
        await self._client.close()

    async def stored(self, collection: str) -> int:
        """Rows in the files of all segments that serve the collection, deleted ones included until they are rewritten.

        Raises:
            BackendUnavailable: the server does not answer.
        """
        segments = await self._call(lambda: self._client.list_persistent_segments(collection, timeout=self._timeout_s))
        return sum(int(segment.num_rows) for segment in segments)

    async def run(self, collection: str, *, patience_s: float) -> None:
        """Has the segments rewritten that are ready for it, and waits until that is done.

        A server leaves out segments whose index it has not built yet: then it has to be asked again.

        Raises:
            BackendUnavailable: the server does not answer, or does not end.
        """
        job = await self._call(lambda: self._client.compact(collection, timeout=self._timeout_s))
        try:
            async with asyncio.timeout(patience_s):
                while await self._state(job) != _DONE:
                    await asyncio.sleep(_LOOK_S)
        except TimeoutError as error:
            raise BackendUnavailable(UNAVAILABLE) from error

    async def _state(self, job: int) -> str:
        return str(await self._call(lambda: self._client.get_compaction_state(job, timeout=self._timeout_s)))

    async def _call(self, action: Callable[[], Awaitable[T]]) -> T:
        try:
            return await action()
        except FOREIGN as error:
            raise translated(error) from error
