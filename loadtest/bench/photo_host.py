"""A web server of photos in a process of its own, as light as can be: it shares the machine with what is measured."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self


class PhotoHost:
    """Serves files from memory on loopback.

    Args:
        files: bytes by path, without the slash.
        cores: that it may use.
    """

    def __init__(self, files: Mapping[str, bytes], cores: set[int]) -> None:
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        self._end = here
        self._process = context.Process(target=_run, args=(there, dict(files), cores), daemon=True)

    def __enter__(self) -> Self:
        self._process.start()
        self.url = f"http://127.0.0.1:{self._end.recv()}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.send(None)
        self._process.join(10)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process.pid is not None
        return self._process.pid


def _run(end: Connection, files: dict[str, bytes], cores: set[int]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; this ends with the connection
    os.sched_setaffinity(0, cores)
    with suppress(EOFError):
        asyncio.run(_serve(end, files))


async def _serve(end: Connection, files: dict[str, bytes]) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                file = files[head.split(b" ", 2)[1].decode().lstrip("/")]
                writer.write(
                    f"HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {len(file)}\r\n\r\n".encode()
                )
                writer.write(file)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        end.send(server.sockets[0].getsockname()[1])
        await asyncio.to_thread(end.recv)
