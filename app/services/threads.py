"""Work that keeps a core busy, in threads."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

ResultT = TypeVar("ResultT")

#: Values of an image, up to which a face is cut out of it within 4 ms: half a megapixel.
SMALL = 3 * 512 * 1024


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


class PixelThreads:
    """Threads that work on pixels.

    Args:
        threads: the threads.
        crowded: tells whether they would find no core free at this moment.
    """

    def __init__(self, threads: ThreadPoolExecutor, crowded: Callable[[], bool]) -> None:
        self._threads = threads
        self._crowded = crowded

    async def run(self, work: Callable[[], ResultT]) -> ResultT:
        """As ``in_thread``."""
        return await in_thread(self._threads, work)

    async def run_on(self, pixels: NDArray[np.uint8], work: Callable[[], ResultT]) -> ResultT:
        """Runs ``work`` on an image in a thread, where there is a core for it, or the image is large.

        While models have all cores, a thread would only take one of theirs a moment later. What is between, the way to
        it and back and a fight for the interpreter's lock at each of Pillow's calls, is spared for small images.
        """
        if pixels.size > SMALL or not self._crowded():
            return await self.run(work)
        done = work()
        await asyncio.sleep(0)  # others' turn: a photo may have many faces
        return done
