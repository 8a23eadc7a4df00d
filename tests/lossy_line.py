"""A line to a server that can lose what comes back: for calls that happen though their answer never arrives."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

# HTTP/2's frames that answer a call (RFC 9113, section 6: DATA and HEADERS); others are pings, windows and settings.
ANSWERING = frozenset({0, 1})


class Frames:
    """Follows HTTP/2's frames through the pieces in which they come."""

    def __init__(self) -> None:
        self._head = b""
        self._left = 0

    def begun_in(self, data: bytes) -> set[int]:
        """The types of the frames whose heads end in this piece."""
        types: set[int] = set()
        while data:
            skipped = min(self._left, len(data))
            self._left -= skipped
            data = data[skipped:]
            missing = 9 - len(self._head)
            self._head += data[:missing] if not self._left else b""
            data = data[missing:] if not self._left else data
            if len(self._head) == 9:
                types.add(self._head[3])
                self._left = int.from_bytes(self._head[:3], "big")
                self._head = b""
        return types


class LossyLine:
    """Passes bytes between callers and a server; ``lose_next_answer`` cuts one connection when an answer comes."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._losing = False
        self._port = 0
        self.lost = 0

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def lose_next_answer(self) -> None:
        self._losing = True

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[LossyLine]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._target.startswith("unix:"):
            there, back = await asyncio.open_unix_connection(self._target.removeprefix("unix:"))
        else:
            host, port = self._target.removeprefix("http://").split(":")
            there, back = await asyncio.open_connection(host, int(port))
        asked = False

        async def ask() -> None:
            nonlocal asked
            while data := await reader.read(1 << 16):
                asked = asked or (self._losing and len(data) > 60)
                back.write(data)
                await back.drain()

        async def answer() -> None:
            frames = Frames()
            while data := await there.read(1 << 16):
                begun = frames.begun_in(data)
                if asked and self._losing and begun & ANSWERING:
                    self._losing = False
                    self.lost += 1
                    return
                writer.write(data)
                await writer.drain()

        ways = [asyncio.create_task(ask()), asyncio.create_task(answer())]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for each in (writer, back):
            with contextlib.suppress(OSError):
                each.close()
                await each.wait_closed()
