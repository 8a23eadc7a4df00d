"""From an image URI to pixels, within the service's limits on time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.fetch import Fetcher
from app.services.budget import MemoryBudget
from app.vision.decode import decode, read_header

ResultT = TypeVar("ResultT")


class ImageSource:
    """Fetches and decodes images.

    Args:
        fetcher: brings the bytes.
        threads: runs everything that keeps a core busy.
        max_pixels: largest image.
        memory: bytes that images being decoded may hold together.
        at_work: images that may be open at the same time; more wait.
    """

    def __init__(
        self, fetcher: Fetcher, threads: ThreadPoolExecutor, *, max_pixels: int, memory: MemoryBudget, at_work: int
    ) -> None:
        self._fetcher = fetcher
        self._threads = threads
        self._max_pixels = max_pixels
        self._memory = memory
        self._slots = asyncio.Semaphore(at_work)

    @asynccontextmanager
    async def open(self, uri: str, *, needed_side: int | None = None) -> AsyncIterator[NDArray[np.uint8]]:
        """Yields the image as UINT8 RGB [H, W, 3], as a person sees it; its memory counts until the block ends.

        Args:
            uri: http, https or data URI.
            needed_side: the caller needs no more than this long side; a larger image may be decoded smaller.

        Raises:
            UnsupportedUri, BlockedAddress, FetchFailed, FetchTimeout, TooLarge, UndecodableImage.
        """
        async with self._slots:
            data = await self._fetcher.fetch(uri)
            header = await self.in_thread(partial(read_header, data, max_pixels=self._max_pixels))
            async with self._memory.hold(header.decoded_bytes):
                image = await self.in_thread(
                    partial(decode, data, max_pixels=self._max_pixels, needed_side=needed_side)
                )
                del data
                yield image

    async def in_thread(self, work: Callable[[], ResultT]) -> ResultT:
        """Runs ``work`` in a worker thread; a cancelled caller leaves only after it ended: it still holds memory."""
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.cancel()  # not yet started: never starts
            await asyncio.wait([future])
            raise
