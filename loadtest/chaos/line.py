"""A TCP line to a server that can be slow, dripping, silent or cut."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from enum import Enum
from types import TracebackType
from typing import Self

_PIECE_BYTES = 64
_DRIP_S = 0.01
_DELAY_S = 1.5


class Way(Enum):
    """What becomes of bytes."""

    WHOLE = "as they come"
    LATE = "a while later, both ways"
    DRIPPING = "a few at a time"
    SILENT = "not at all, while connections stay"
    CUT = "connections are cut, and new ones refused"


class Line:
    """Listens on loopback and passes bytes on to a server; runs in a thread of its own.

    Attributes:
        way: how it does so from now on.

    Args:
        host: of the server.
        port: of the server.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = host, port
        self._way = Way.WHOLE
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)
        self._server: asyncio.Server | None = None
        self._ends: set[asyncio.StreamWriter] = set()
        self._open: asyncio.Event | None = None
        self.port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def uri(self) -> str:
        """Address for a client of the server."""
        return f"http://127.0.0.1:{self.port}"

    def become(self, way: Way) -> None:
        """Changes what becomes of bytes."""
        asyncio.run_coroutine_threadsafe(self._become(way), self._loop).result()

    async def _become(self, way: Way) -> None:
        assert self._open is not None
        self._way = way
        if way is Way.SILENT:
            self._open.clear()
        else:
            self._open.set()
        if way is Way.CUT:
            self._cut()

    def _cut(self) -> None:
        for writer in self._ends:
            writer.transport.abort()

    async def _listen(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        self._cut()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._way is Way.CUT:
            writer.transport.abort()
            return
        try:
            there, back = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, back}
        self._ends |= both
        ways = [asyncio.create_task(self._pass(reader, back)), asyncio.create_task(self._pass(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._ends -= both
            for each in ways:
                each.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for end in both:
                end.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        assert self._open is not None
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                if self._way is Way.LATE:
                    await asyncio.sleep(_DELAY_S)
                await self._open.wait()
                if self._way is Way.DRIPPING:
                    for start in range(0, len(data), _PIECE_BYTES):
                        sink.write(data[start : start + _PIECE_BYTES])
                        await sink.drain()
                        await asyncio.sleep(_DRIP_S)
                else:
                    sink.write(data)
                    await sink.drain()
