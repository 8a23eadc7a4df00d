"""Clients that call the service over connections that stay open; light, because they share its machine."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

_HEAD_BYTES = 65536


@dataclass(slots=True)
class Load:
    """What the clients saw.

    Attributes:
        seconds: from the first call to the last answer.
        times: seconds of each call.
        errors: answers that were none of 200, and their number.
        stages: sums of milliseconds of each stage, from the answers' ``timings``.
        answers: the last answer to each body.
    """

    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    errors: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    stages: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    answers: dict[int, Any] = field(default_factory=dict)


def request(path: str, body: Any) -> bytes:
    """The bytes of a POST of JSON."""
    content = msgspec.json.encode(body)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    )
    return f"{head}\r\n\r\n".encode() + content


async def load(port: int, requests: Sequence[bytes], *, clients: int, seconds: float, least: int) -> Load:
    """Keeps so many calls at work for so long, each client one after the other.

    Args:
        port: of the service on loopback.
        requests: sent in turns.
        clients: how many.
        seconds: after which no new call is made.
        least: calls that are made at least, however long it takes.
    """
    seen = Load()
    began = time.perf_counter()
    sent = 0

    async def client() -> None:
        nonlocal sent
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_HEAD_BYTES)
        try:
            while sent < least or time.perf_counter() - began < seconds:
                number = sent % len(requests)
                sent += 1
                started = time.perf_counter()
                writer.write(requests[number])
                status, content = await _answer(reader)
                seen.times.append(time.perf_counter() - started)
                answer = msgspec.json.decode(content)
                if status != 200:
                    seen.errors[f"{status} {answer.get('code')}"] += 1
                    continue
                seen.answers[number] = answer
                for stage, value in answer.get("timings", {}).items():
                    seen.stages[stage] += value
        except (OSError, asyncio.IncompleteReadError) as error:
            seen.errors[type(error).__name__] += 1
        finally:
            writer.close()

    await asyncio.gather(*(client() for _ in range(clients)))
    seen.seconds = time.perf_counter() - began
    return seen


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    headers: Mapping[bytes, bytes] = {
        name.lower(): value for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n")[1:])
    }
    return int(head.split(b" ", 2)[1]), await reader.readexactly(int(headers[b"content-length"]))
