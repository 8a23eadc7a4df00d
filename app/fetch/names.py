"""Addresses of names, looked up by the system in threads of their own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

LookUp = Callable[..., list[tuple[Any, ...]]]


class SystemResolver(AbstractResolver):
    """Asks the system's resolver.

    It cannot be interrupted, and a name whose name servers are dead takes it half a minute: so looks-up have threads of
    their own, that neither other work nor the end of the process waits for.

    Args:
        most: look-ups at the same time; more wait.
        look_up: called like ``socket.getaddrinfo``, which it is where None.
    """

    def __init__(self, most: int, look_up: LookUp | None = None) -> None:
        self._slots = asyncio.Semaphore(most)
        self._look_up = look_up

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Looks a name up.

        Raises:
            OSError: there is no such name, or no answer.
        """
        await self._slots.acquire()  # given back by the thread: a caller that leaves does not end it
        loop = asyncio.get_running_loop()
        found: asyncio.Future[list[tuple[Any, ...]]] = loop.create_future()

        def done(outcome: list[tuple[Any, ...]] | Exception) -> None:
            self._slots.release()
            if found.cancelled():
                return
            if isinstance(outcome, Exception):
                found.set_exception(outcome)
            else:
                found.set_result(outcome)

        def work() -> None:
            outcome: list[tuple[Any, ...]] | Exception
            try:
                look_up = self._look_up or socket.getaddrinfo
                outcome = look_up(host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG)
            except Exception as error:  # UnicodeError too: a label that is too long
                outcome = error
            try:
                loop.call_soon_threadsafe(done, outcome)
            except RuntimeError:
                return  # the loop is closed: nobody waits

        threading.Thread(target=work, name="likeness-name", daemon=True).start()
        return [
            ResolveResult(
                hostname=host, host=address[0], port=port, family=kind, proto=proto, flags=socket.AI_NUMERICHOST
            )
            for kind, _, proto, _, address in await found
            if kind in (socket.AF_INET, socket.AF_INET6)
        ]

    async def close(self) -> None:
        """Nothing is held."""
