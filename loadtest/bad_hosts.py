"""Has a service fetch images from hosts that mean harm, and tells what became of it: ``python -m loadtest.bad_hosts``.

Meanwhile another client fetches from a good host: what it notices is what counts.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Final

from tests.http_peers import Talk, talking
from tests.pictures import drawing, encoded
from tests.running_service import RunningService

_REQUESTS: Final = 64
_CHUNKED: Final = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_LONG: Final = b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n"
_SLOW_S: Final = 5.0  # a good host's image in a longer time than this is a harm done


def _repeating(head: bytes, piece: bytes, pause_s: float = 0.0) -> Talk:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return talk


async def _good(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    picture = encoded(drawing(1))
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(picture) + picture)
    await writer.drain()


HOSTS: Final[dict[str, Talk]] = {
    "says nothing": _repeating(b"", b"", 0.1),
    "a head in drips": _repeating(b"HTTP/1.1 200 OK\r\nX: ", b"a", 0.1),
    "a body in drips": _repeating(_LONG, b"a", 0.1),
    "interim answers without end": _repeating(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
    "headers without end": _repeating(b"HTTP/1.1 200 OK\r\n", b"a: b\r\n" * 5000),
    "chunks of one byte": _repeating(_CHUNKED, b"1\r\na\r\n" * 5000),
    "an extension without end": _repeating(_CHUNKED + b"1;", b"a" * 60_000),
    "a body without end": _repeating(b"HTTP/1.1 200 OK\r\n\r\n", bytes(60_000)),
}


def _serve(name: str, address: str, started: SimpleQueue[int]) -> None:
    async def serve() -> None:
        async with talking(HOSTS.get(name, _good), address=address) as port:
            started.put(port)
            await asyncio.Event().wait()

    asyncio.run(serve())


@contextmanager
def _served(name: str, address: str) -> Iterator[str]:
    """A host in a process of its own; gives the address of its images."""
    context = multiprocessing.get_context("spawn")
    started: SimpleQueue[int] = context.SimpleQueue()
    process = context.Process(target=_serve, args=(name, address, started), daemon=True)
    process.start()
    try:
        yield f"http://{address}:{started.get()}/"
    finally:
        process.kill()
        process.join()


def _attacked(service: RunningService, bad: str, good: str) -> tuple[str, float, float]:
    """What requests for the bad host were answered and within what time, and the longest that the good host's took."""

    def ask(uri: str) -> tuple[str, float]:
        started = time.monotonic()
        reply = service.call("POST", "/v1/face/detect", {"images": [uri]})
        return str(reply.body.get("code", reply.status)), time.monotonic() - started

    with ThreadPoolExecutor(_REQUESTS) as pool:
        asked = [pool.submit(ask, bad) for _ in range(_REQUESTS)]
        good_times = []
        while not all(each.done() for each in asked):
            good_times.append(ask(good)[1])
            time.sleep(0.05)
    answers = Counter(each.result()[0] for each in asked)
    told = ", ".join(f"{count} × {answer}" for answer, count in answers.items())
    return told, max(each.result()[1] for each in asked), max(good_times, default=0.0)


def main() -> int:
    """Tries every host; 0 where a good one was never kept waiting for long."""
    print("| host | asked | answers | all answered after | a good host's image took at most |", flush=True)
    print("| --- | --- | --- | --- | --- |", flush=True)
    harmless = True
    with (
        tempfile.TemporaryDirectory(prefix="likeness-hosts-") as folder,
        RunningService(Path(folder) / "data", fetch_allow_networks="127.0.0.0/8") as service,
        _served("good", "127.0.0.2") as good,
    ):
        _attacked(service, good, good)
        for name in HOSTS:
            with _served(name, "127.0.0.1") as bad:
                told, seconds, longest = _attacked(service, bad, good)
            harmless &= longest < _SLOW_S
            print(f"| {name} | {_REQUESTS} | {told} | {seconds:.1f} s | {longest:.2f} s |", flush=True)
    return 0 if harmless else 1


if __name__ == "__main__":
    sys.exit(main())
