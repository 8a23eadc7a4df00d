"""One decoder as the service sees it: a child process and the socket to it."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Final, Self, TypeVar

import msgspec

from app.decoding.form import Form
from app.decoding.memory import SharedBytes, SharedFile
from app.decoding.messages import MOST_BYTES, Answer, Failed, Image, Read, Ready, Refused
from app.errors import InternalError, LikenessError, TooLarge, UndecodableImage
from app.vision.decode import ImageHeader
from app.vision.image_file import ImageFormat

_ROOT: Final = Path(__file__).resolve().parent.parent.parent
_MAIN: Final = "import sys; sys.path.insert(0, sys.argv[1]); from app.decoding import child; child.main()"
# Nothing of the service's own environment, which may hold secrets. The rest has glibc keep some memory from one image
# to the next (mallopt(3)): new pages cost as much as decoding a small photo.
_ENVIRONMENT: Final = {
    "LC_ALL": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024 * 1024),
}
_POLL_S: Final = 0.01
_REFUSALS: Final[dict[str, type[LikenessError]]] = {kind.code: kind for kind in (TooLarge, UndecodableImage)}

AnswerT = TypeVar("AnswerT", Ready, Image)

_answers = msgspec.json.Decoder(Answer)


class DecoderGone(Exception):
    """The process ended, or answers what no decoder answers."""


class Decoder:
    """A process that reads one file at a time; whoever asks waits for its answer before anybody asks again.

    Args:
        process: the child.
        channel: the service's end of the socket to it.
    """

    def __init__(self, process: subprocess.Popen[bytes], channel: socket.socket) -> None:
        self._process = process
        self._channel = channel
        self.confined = ""

    @classmethod
    async def start(cls, *, most_bytes: int) -> Self:
        """Starts a process and waits until it can decode.

        Args:
            most_bytes: of memory, that it may take for one image.

        Raises:
            OSError: no process can be started.
            DecoderGone: it ended at once.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)  # noqa: FBT003
        with theirs:
            arguments = [str(_ROOT), str(theirs.fileno()), str(os.getpid()), str(most_bytes)]
            try:
                process = subprocess.Popen(  # noqa: S603, ASYNC220 (returns as soon as it has forked)
                    [sys.executable, "-I", "-c", _MAIN, *arguments],
                    env=_ENVIRONMENT,
                    cwd="/",
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,  # codecs print about damaged files
                    stderr=subprocess.DEVNULL,
                )
            except BaseException:
                ours.close()
                raise
        decoder = cls(process, ours)
        try:
            decoder.confined = (await decoder.answer(Ready)).confined
        except BaseException:
            decoder.kill()
            process.wait()
            raise
        return decoder

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    async def read(
        self, file: SharedFile, room: SharedBytes, *, max_pixels: int, form: Form, memory: int
    ) -> tuple[ImageHeader, tuple[int, int]]:
        """Reads the header of a file and decodes it, where ``memory`` bytes and ``room`` suffice.

        Returns:
            The header; and rows and columns of the pixels that lie in ``room``, or zeros.

        Raises:
            DecoderGone, TooLarge, UndecodableImage.
        """
        question = msgspec.json.encode(Read(file.size, max_pixels, form, memory))
        try:
            socket.send_fds(self._channel, [question], [file.memory.descriptor, room.descriptor])
        except OSError as error:
            raise DecoderGone from error
        told = await self.answer(Image)
        if not 0 < told.width * told.height <= max_pixels or not 0 <= told.rows * told.columns * 3 <= room.size:
            raise DecoderGone
        header = ImageHeader(ImageFormat(told.format), told.width, told.height, told.decoded_bytes)
        return header, (told.rows, told.columns)

    async def answer(self, kind: type[AnswerT]) -> AnswerT:
        """Waits for the answer to what was asked last.

        Raises:
            DecoderGone: there will be none.
            TooLarge, UndecodableImage: it refuses the file.
            InternalError: it failed in a way that nobody expected.
        """
        try:
            told = _answers.decode(await asyncio.get_running_loop().sock_recv(self._channel, MOST_BYTES))
        except (OSError, msgspec.MsgspecError) as error:
            raise DecoderGone from error
        if isinstance(told, Refused) and told.code in _REFUSALS:
            raise _REFUSALS[told.code](told.message)
        if isinstance(told, Failed):
            raise InternalError from RuntimeError(f"A decoder failed: {told.what}")
        if not isinstance(told, kind):
            raise DecoderGone
        return told

    async def drained(self) -> None:
        """Waits for the answer to what was asked last, whatever it is.

        Raises:
            DecoderGone: there will be none.
        """
        try:
            if not await asyncio.get_running_loop().sock_recv(self._channel, MOST_BYTES):
                raise DecoderGone
        except OSError as error:
            raise DecoderGone from error

    async def ended(self, within_s: float) -> int | None:
        """The exit status of a process that ends by itself; None where it does not."""
        for _ in range(max(1, round(within_s / _POLL_S))):
            status = self._process.poll()
            if status is not None:
                return status
            await asyncio.sleep(_POLL_S)
        return None

    def kill(self) -> None:
        """Ends the process at once."""
        self._channel.close()
        self._process.kill()

    async def reaped(self) -> None:
        """Waits until the process is gone."""
        await asyncio.to_thread(self._process.wait)
