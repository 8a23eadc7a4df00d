"""Work that keeps a core busy, in threads."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

ResultT = TypeVar("ResultT")


async def in_thread(threads: ThreadPoolExecutor, work: Callable[[], ResultT]) -> ResultT:
    """Runs ``work`` in a worker thread; a cancelled caller leaves only after it ended: it still holds memory."""
    running = threads.submit(contextvars.copy_context().run, work)  # its log lines bear the request's id
    future = asyncio.wrap_future(running)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not running.cancel():  # it has begun, and threads cannot be stopped
            await asyncio.wait([future])
        raise
