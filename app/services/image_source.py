"""From an image URI to pixels, within the service's limits on time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from app.decoding import WHOLE, Decoders, Form, SharedFile
from app.fetch import Fetcher
from app.metrics import WorkMetrics
from app.services.budget import MemoryBudget
from app.services.threads import PixelThreads
from app.stages import Stage, stage
from app.vision.decode import ImageHeader

ResultT = TypeVar("ResultT")

_SMALL_BYTES = 24 * 1024 * 1024  # of memory, that decoding a photo of over a million pixels takes
_COPIED_AT_ONCE = 1024 * 1024  # bytes: more are copied in a thread


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What images may cost.

    Attributes:
        max_bytes: largest encoded image.
        fetched_memory: bytes that all images being fetched may take together.
        decoded_memory: bytes that all images being decoded may take together.
        at_work: images that may be open at the same time.
    """

    max_bytes: int
    fetched_memory: int
    decoded_memory: int
    at_work: int


class OpenImage:
    """An image while it is looked at, perhaps smaller than it is stored.

    Attributes:
        pixels: UINT8 RGB [H, W, 3], as a person sees it.
        width: of the image itself, in pixels.
        height: likewise.
    """

    def __init__(self, source: ImageSource, data: bytes, pixels: NDArray[np.uint8], header: ImageHeader) -> None:
        self.pixels = pixels
        self.width, self.height = header.width, header.height
        self._header = header
        self._source = source
        self._data = data

    @property
    def scale(self) -> tuple[float, float]:
        """What there is of each pixel of the image, horizontally and vertically: 1 where it is whole."""
        height, width = self.pixels.shape[:2]
        return width / self.width, height / self.height

    @property
    def is_whole(self) -> bool:
        """Whether the pixels are those of the image itself."""
        return self.scale == (1.0, 1.0)

    async def make_whole(self) -> None:
        """Decodes all pixels, for what is too small to be seen otherwise."""
        self.pixels = np.zeros((0, 0, 3), np.uint8)  # the memory that is held for the image is for one of the two
        with stage(Stage.DECODE):
            self.pixels = await self._source.whole(self._data, self._header)


class ImageSource:
    """Fetches and decodes images; what is over a limit waits, or is refused where waiting cannot help.

    Args:
        fetcher: brings the bytes.
        decoders: make pixels of them.
        threads: run everything else that keeps a core busy.
        limits: what images may cost.
    """

    def __init__(self, fetcher: Fetcher, decoders: Decoders, threads: PixelThreads, limits: ImageLimits) -> None:
        self._fetcher = fetcher
        self._decoders = decoders
        self._threads = threads
        self._limits = limits
        self._fetched = MemoryBudget(limits.fetched_memory)
        self._decoded = MemoryBudget(limits.decoded_memory)
        self._slots = asyncio.Semaphore(limits.at_work)

    @asynccontextmanager
    async def open(self, uri: str, form: Form = WHOLE) -> AsyncIterator[OpenImage]:
        """Yields the image; its memory counts until the block ends.

        Args:
            uri: http, https or data URI.
            form: in which the image is wanted.

        Raises:
            UnsupportedUri, BlockedAddress, FetchFailed, FetchTimeout, TooLarge, UndecodableImage.
        """
        # A data URI's bytes count with the body that it came in. Memory is held once a host begins to send, and slots
        # come after that: slow hosts must keep neither from others.
        async with AsyncExitStack() as held:
            reserve = partial(held.enter_async_context, self._fetched.hold(self._limits.max_bytes))
            with stage(Stage.FETCH):
                data = await self._fetcher.fetch(uri, before_body=reserve)
            async with self._decoding(data, form) as image:
                yield image

    @asynccontextmanager
    async def _decoding(self, data: bytes, form: Form) -> AsyncIterator[OpenImage]:
        async with AsyncExitStack() as held:
            with stage(Stage.DECODE):
                await held.enter_async_context(self._slots)
                async with self._shared(data) as file:
                    header, pixels = await self._small(file, form, held)
                    if pixels is None:
                        await held.enter_async_context(self._decoded.hold(header.decoded_bytes))
                        pixels = await self._decoders.decode(file, header, form)
            yield OpenImage(self, data, pixels, header)

    async def _small(
        self, file: SharedFile, form: Form, held: AsyncExitStack
    ) -> tuple[ImageHeader, NDArray[np.uint8] | None]:
        """The header; and the pixels where little memory, that is free, is enough for them."""
        lent = self._decoded.borrow(_SMALL_BYTES)
        kept = 0
        try:
            header, pixels = await self._decoders.read(file, form, memory=lent)
            if pixels is not None:
                kept = header.decoded_bytes
                held.callback(self._decoded.give_back, kept)
        finally:
            self._decoded.give_back(lent - kept)
        return header, pixels

    async def whole(self, data: bytes, header: ImageHeader) -> NDArray[np.uint8]:
        """All pixels of a file; whoever asks holds the memory for them."""
        async with self._shared(data) as file:
            return await self._decoders.decode(file, header, WHOLE)

    @asynccontextmanager
    async def _shared(self, data: bytes) -> AsyncIterator[SharedFile]:
        """The file where decoders see it."""
        with self._decoders.file(len(data)) as file:
            if len(data) > _COPIED_AT_ONCE:
                await self.in_thread(partial(file.fill, data))
            else:
                file.fill(data)
            yield file

    def sample(self, metrics: WorkMetrics) -> None:
        """Tells how much memory images hold at this moment."""
        self._fetched.sample(metrics, "fetched_images")
        self._decoded.sample(metrics, "decoded_images")

    async def in_thread(self, work: Callable[[], ResultT]) -> ResultT:
        """Runs ``work`` in a worker thread; a cancelled caller leaves only after it ended: it still holds memory."""
        return await self._threads.run(work)

    async def work_on(self, image: OpenImage, work: Callable[[], ResultT]) -> ResultT:
        """Runs ``work`` on all or a part of an image: in a thread, but for a small one while all cores are busy."""
        return await self._threads.run_on(image.pixels, work)
