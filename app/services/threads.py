"""Work that keeps a core busy, in threads."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

ResultT = TypeVar("ResultT")


async def in_thread(threads: ThreadPoolExecutor, work: Callable[[], ResultT]) -> ResultT:
    """Runs ``work`` in a worker thread; a cancelled caller leaves only after it ended: it still holds memory.

    A request does so up to ten times, so there are no futures chained to futures here as ``asyncio.wrap_future`` and
    ``asyncio.shield`` make them, but for a caller who is cancelled.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[ResultT] = loop.create_future()

    def tell(settle: Callable[[Any], None], outcome: object) -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(_settle, ended, settle, outcome)

    def run() -> None:
        try:
            result = work()
        except BaseException as error:  # the caller's to handle, whatever it is
            tell(ended.set_exception, error)
        else:
            tell(ended.set_result, result)

    running = threads.submit(contextvars.copy_context().run, run)  # its log lines bear the request's id
    try:
        return await ended
    except asyncio.CancelledError:
        if not running.cancel():  # it has begun, and threads cannot be stopped
            await asyncio.wait([asyncio.wrap_future(running)])
        raise


def _settle(ended: asyncio.Future[Any], settle: Callable[[Any], None], outcome: object) -> None:
    if not ended.done():  # it is where the caller was cancelled
        settle(outcome)
