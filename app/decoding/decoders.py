"""The decoders of the service: as many processes as it has cores, each replaced when it is lost."""

from __future__ import annotations

import asyncio
import logging
import signal
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.decoding.decoder import Decoder, DecoderGone
from app.decoding.form import Form
from app.decoding.memory import SharedBytes, SharedFile, SharedMemory
from app.errors import BackendUnavailable, InternalError, LikenessError, UndecodableImage
from app.metrics import DecoderLoss, DecoderMetrics
from app.vision.decode import ImageHeader

T = TypeVar("T")

_START_S: Final = 60.0
_GRACE_S: Final = 0.5  # what a decoder gets to finish an image that nobody wants any more
_EXIT_S: Final = 1.0
_KEPT_BYTES: Final = 64 * 1024 * 1024
_SMALL_BYTES: Final = 4 * 1024 * 1024  # room for 1.4 million pixels
_ATTEMPTS: Final = 2
_FIRST_DELAY_S: Final = 0.1
_LONGEST_DELAY_S: Final = 10.0

_log = logging.getLogger("likeness.decoding")


@dataclass(frozen=True, slots=True)
class DecodingLimits:
    """What decoding one image may cost.

    Attributes:
        processes: decoders, each of which has one image at a time.
        max_pixels: largest image.
        most_bytes: of memory, for one image, whatever its header says.
        timeout_s: seconds after which an image is given up.
    """

    processes: int
    max_pixels: int
    most_bytes: int
    timeout_s: float


class Decoders:
    """Reads headers and decodes images in other processes; open it with ``async with``.

    A file that ends its decoder, or keeps it for too long, is refused; another process takes the place of that one.
    One that was killed from outside, as the kernel does when memory runs out, says nothing of its file: the file is
    tried once more.

    Args:
        limits: of one image, and how many at a time.
        metrics: told of decoders that were lost.
    """

    def __init__(self, limits: DecodingLimits, *, metrics: DecoderMetrics | None = None) -> None:
        self._limits = limits
        self._metrics = metrics or DecoderMetrics.unseen()
        self._memory = SharedMemory(_KEPT_BYTES)
        self._idle: asyncio.LifoQueue[Decoder] = asyncio.LifoQueue()
        self._decoders: set[Decoder] = set()
        self._ended: set[Decoder] = set()  # killed, and not yet waited for
        self._tasks: set[asyncio.Task[None]] = set()
        self._failing = False
        self._first = asyncio.Event()

    async def __aenter__(self) -> Self:
        for _ in range(self._limits.processes):
            self._spawn(self._add())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for decoder in (all_of_them := self._decoders | self._ended):
            decoder.kill()
        await asyncio.gather(*(decoder.reaped() for decoder in all_of_them))
        self._decoders.clear()
        self._ended.clear()
        self._memory.close()

    @property
    def pids(self) -> list[int]:
        """Process ids of the decoders that there are."""
        return [decoder.pid for decoder in self._decoders]

    async def ready(self) -> None:
        """Waits until the first decoder has started, or could not.

        Raises:
            BackendUnavailable: it could not.
        """
        await self._first.wait()
        if not self._decoders:
            raise _unavailable()

    def file(self, size: int) -> AbstractContextManager[SharedFile]:
        """Room for a file of that size, until the block ends.

        Raises:
            BackendUnavailable: no memory or no file descriptor is left.
        """
        return self._memory.file(size)

    async def read(self, file: SharedFile, form: Form, *, memory: int) -> tuple[ImageHeader, NDArray[np.uint8] | None]:
        """Reads the header of a file, and decodes what is small at once.

        Args:
            file: the whole file.
            form: in which the image is wanted.
            memory: bytes that decoding may take.

        Returns:
            The header; and uint8 RGB [H, W, 3], or None where there is not memory enough.

        Raises:
            TooLarge, UndecodableImage: the file's fault.
            BackendUnavailable: no process or no memory can be had to read it.
        """
        room = self._memory.take(_SMALL_BYTES if form.square is None else form.square**2 * 3)
        return await self._read(file, room, form, memory)

    async def decode(self, file: SharedFile, header: ImageHeader, form: Form) -> NDArray[np.uint8]:
        """Decodes a file whose header was read, taking as many bytes as that says.

        Raises:
            TooLarge, UndecodableImage: the file's fault.
            BackendUnavailable: no process or no memory can be had to decode it.
        """
        rows, columns = form.size(header)
        room = self._memory.take(rows * columns * 3)
        _, pixels = await self._read(file, room, form, header.decoded_bytes)
        if pixels is None:
            raise InternalError  # a decoder that says now this of a file, and now that
        return pixels

    async def _read(
        self, file: SharedFile, room: SharedBytes, form: Form, memory: int
    ) -> tuple[ImageHeader, NDArray[np.uint8] | None]:
        read = partial(
            Decoder.read,
            file=file,
            room=room,
            max_pixels=self._limits.max_pixels,
            form=form,
            memory=memory,
        )
        try:
            header, (rows, columns) = await self._done(read, file)
        except BaseException:
            room.close()  # and not kept: a process that was given up may still write to it
            raise
        if not rows:
            self._memory.give_back(room)
            return header, None
        return header, self._memory.pixels(room, rows, columns)

    async def _done(self, work: Callable[[Decoder], Awaitable[T]], file: SharedFile) -> T:
        for _ in range(_ATTEMPTS):
            decoder = await self._taken()
            try:
                async with asyncio.timeout(self._limits.timeout_s):
                    result = await work(decoder)
            except DecoderGone:
                status = await self._status(decoder)
                if status == -signal.SIGKILL:
                    self._tell_lost(DecoderLoss.KILLED, file.size)
                    continue
                self._tell_lost(DecoderLoss.CRASH, file.size)
                message = "The image broke its decoder: it is damaged. Send it in another form."
                raise UndecodableImage(message) from None
            except TimeoutError:
                self._replace(decoder)
                self._tell_lost(DecoderLoss.TIMEOUT, file.size)
                message = f"The image takes more than {self._limits.timeout_s:g} seconds to decode. Send a smaller one."
                raise UndecodableImage(message) from None
            except asyncio.CancelledError:
                # It holds memory until it has answered or is gone, and so long does its caller's share of it count.
                await asyncio.wait([self._spawn(self._settle(decoder))])
                raise
            except LikenessError:
                self._idle.put_nowait(decoder)
                raise
            except BaseException:
                self._replace(decoder)
                raise
            self._idle.put_nowait(decoder)
            return result
        raise _unavailable()

    async def _taken(self) -> Decoder:
        while True:
            if self._failing and not self._decoders:
                raise _unavailable()
            decoder = await self._idle.get()
            if decoder.is_alive:
                return decoder
            self._replace(decoder)
            self._tell_lost(DecoderLoss.KILLED, 0)

    async def _settle(self, decoder: Decoder) -> None:
        """Waits for the answer that nobody wants, and not for long."""
        try:
            async with asyncio.timeout(_GRACE_S):
                await decoder.drained()
        except (TimeoutError, DecoderGone):
            self._replace(decoder)
        else:
            self._idle.put_nowait(decoder)

    async def _status(self, decoder: Decoder) -> int | None:
        """How a decoder ended that hung up; None where it has not and is ended here."""
        try:
            return await decoder.ended(_EXIT_S)
        finally:
            self._replace(decoder)

    def _replace(self, decoder: Decoder) -> None:
        decoder.kill()
        self._decoders.discard(decoder)
        self._ended.add(decoder)
        self._spawn(self._reap(decoder))
        self._spawn(self._add())

    async def _reap(self, decoder: Decoder) -> None:
        await decoder.reaped()
        self._ended.discard(decoder)

    async def _add(self) -> None:
        """Starts a decoder, however often that fails."""
        delay_s = _FIRST_DELAY_S
        while True:
            try:
                async with asyncio.timeout(_START_S):
                    decoder = await Decoder.start(most_bytes=self._limits.most_bytes)
                break
            except (OSError, DecoderGone, TimeoutError) as error:
                self._failing = True
                self._first.set()
                _log.error("No process that decodes images can be started: %s", error or type(error).__name__)
            await asyncio.sleep(delay_s)
            delay_s = min(2 * delay_s, _LONGEST_DELAY_S)
        self._failing = False
        self._first.set()
        self._decoders.add(decoder)
        self._idle.put_nowait(decoder)
        _log.debug("Decoder %d has started, kept to its work by %s", decoder.pid, decoder.confined)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _tell_lost(self, reason: DecoderLoss, size: int) -> None:
        self._metrics.lost(reason)
        _log.warning("A process that decodes images was lost (%s) over a file of %d bytes", reason, size)


def _unavailable() -> BackendUnavailable:
    return BackendUnavailable("Images cannot be decoded at the moment: try again.")
