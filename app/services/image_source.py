"""From an image URI to pixels, within the service's limits on time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.fetch import Fetcher, is_data_uri
from app.metrics import WorkMetrics
from app.services.budget import MemoryBudget
from app.services.threads import in_thread
from app.stages import Stage, stage
from app.vision.decode import decode, read_header

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What images may cost.

    Attributes:
        max_bytes: largest encoded image.
        max_pixels: largest image.
        fetched_memory: bytes that all images being fetched may take together.
        decoded_memory: bytes that all images being decoded may take together.
        at_work: images that may be open at the same time.
    """

    max_bytes: int
    max_pixels: int
    fetched_memory: int
    decoded_memory: int
    at_work: int


class ImageSource:
    """Fetches and decodes images; what is over a limit waits, or is refused where waiting cannot help.

    Args:
        fetcher: brings the bytes.
        threads: runs everything that keeps a core busy.
        limits: what images may cost.
    """

    def __init__(self, fetcher: Fetcher, threads: ThreadPoolExecutor, limits: ImageLimits) -> None:
        self._fetcher = fetcher
        self._threads = threads
        self._limits = limits
        self._fetched = MemoryBudget(limits.fetched_memory)
        self._decoded = MemoryBudget(limits.decoded_memory)
        self._slots = asyncio.Semaphore(limits.at_work)

    @asynccontextmanager
    async def open(self, uri: str, *, needed_side: int | None = None) -> AsyncIterator[NDArray[np.uint8]]:
        """Yields the image as UINT8 RGB [H, W, 3], as a person sees it; its memory counts until the block ends.

        Args:
            uri: http, https or data URI.
            needed_side: the caller needs no more than this long side; a larger image may be decoded smaller.

        Raises:
            UnsupportedUri, BlockedAddress, FetchFailed, FetchTimeout, TooLarge, UndecodableImage.
        """
        # A data URI's bytes count with the body that it came in. Slots come after the fetch: a slow host must not
        # keep them from images that are there.
        reserved = nullcontext() if is_data_uri(uri) else self._fetched.hold(self._limits.max_bytes)
        async with reserved:
            with stage(Stage.FETCH):
                data = await self._fetcher.fetch(uri)
            async with self._decoding(data, needed_side) as image:
                yield image

    @asynccontextmanager
    async def _decoding(self, data: bytes, needed_side: int | None) -> AsyncIterator[NDArray[np.uint8]]:
        async with AsyncExitStack() as held:
            with stage(Stage.DECODE):
                await held.enter_async_context(self._slots)
                header = await self.in_thread(partial(read_header, data, max_pixels=self._limits.max_pixels))
                await held.enter_async_context(self._decoded.hold(header.decoded_bytes))
                image = await self.in_thread(
                    partial(decode, data, max_pixels=self._limits.max_pixels, needed_side=needed_side)
                )
            yield image

    def sample(self, metrics: WorkMetrics) -> None:
        """Tells how much memory images hold at this moment."""
        self._fetched.sample(metrics, "fetched_images")
        self._decoded.sample(metrics, "decoded_images")

    async def in_thread(self, work: Callable[[], ResultT]) -> ResultT:
        """Runs ``work`` in a worker thread; a cancelled caller leaves only after it ended: it still holds memory."""
        return await in_thread(self._threads, work)
