"""Decoding in processes of their own, which are real here: what ends one, or keeps it, costs one image."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from prometheus_client import CollectorRegistry

from app.decoding import WHOLE, Decoders, DecodingLimits, Form
from app.errors import BackendUnavailable, TooLarge, UndecodableImage
from app.metrics import DecoderLoss, DecoderMetrics, SeriesBook
from app.vision.decode import ImageHeader, decode, read_header
from app.vision.letterbox import squash

MIB = 1024 * 1024
ROOT = Path(__file__).resolve().parent.parent.parent


def limits(*, processes: int = 1, timeout_s: float = 60, most_bytes: int = 512 * MIB) -> DecodingLimits:
    return DecodingLimits(processes, max_pixels=20_000_000, most_bytes=most_bytes, timeout_s=timeout_s)


async def read(decoders: Decoders, data: bytes, form: Form = WHOLE) -> tuple[ImageHeader, NDArray[np.uint8]]:
    """As the service does: what is small at once, all else in a second step."""
    with decoders.file(len(data)) as file:
        file.fill(data)
        header, pixels = await decoders.read(file, form, memory=24 * MIB)
        if pixels is None:
            pixels = await decoders.decode(file, header, form)
        return header, pixels


async def test_every_format_is_decoded_in_a_confined_process_as_it_is_here(files: dict[str, bytes]) -> None:
    async with Decoders(limits()) as decoders:
        for name, data in files.items():
            header, pixels = await read(decoders, data)
            assert header == read_header(data), name
            np.testing.assert_array_equal(pixels, decode(data, max_pixels=1_000_000), err_msg=name)
            assert not pixels.flags.writeable, name


async def test_a_large_photo_is_decoded_in_a_second_step_and_smaller_or_squashed_where_that_is_wanted(
    saved: Callable[..., bytes],
) -> None:
    steps = np.add.outer(np.arange(2400) % 256, np.arange(3200) % 200).astype(np.uint8)
    data = saved(Image.fromarray(steps).convert("RGB"), "JPEG")
    async with Decoders(limits()) as decoders:
        for side in (None, 640):
            _, pixels = await read(decoders, data, Form(side))
            np.testing.assert_array_equal(pixels, decode(data, max_pixels=20_000_000, needed_side=side))
        assert pixels.shape == (600, 800, 3)
        _, pixels = await read(decoders, data, Form(640, square=256))
        np.testing.assert_array_equal(pixels, squash(decode(data, max_pixels=20_000_000, needed_side=640), 256))


@pytest.mark.parametrize(("width", "height"), [(3000, 5), (5, 3000), (4001, 9), (1, 4000)])
async def test_thin_photos_fit_the_room_made_for_them(saved: Callable[..., bytes], width: int, height: int) -> None:
    data = saved(Image.new("RGB", (width, height), (9, 99, 199)), "JPEG")
    async with Decoders(limits()) as decoders:
        _, pixels = await read(decoders, data, Form(400))
    np.testing.assert_array_equal(pixels, decode(data, max_pixels=20_000_000, needed_side=400))


async def test_what_is_no_image_or_too_large_is_refused_with_the_same_words_as_here(files: dict[str, bytes]) -> None:
    too_large = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (30_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    async with Decoders(limits()) as decoders:
        for data in (b"", b"no image", files["JPEG"][:200], too_large):
            with pytest.raises((UndecodableImage, TooLarge)) as here:
                looked_at(data)
            with pytest.raises(type(here.value)) as there:
                await read(decoders, data)
            assert there.value.message == here.value.message
        await read(decoders, files["PNG"])


def looked_at(data: bytes) -> None:
    read_header(data, max_pixels=20_000_000)
    decode(data, max_pixels=20_000_000)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS])
async def test_a_crash_costs_the_image_that_caused_it_and_nothing_else(
    files: dict[str, bytes], number: signal.Signals
) -> None:
    told = Told()
    async with Decoders(limits(), metrics=told.metrics) as decoders:
        await decoders.ready()
        (pid,) = decoders.pids
        os.kill(pid, signal.SIGSTOP)
        crashing = asyncio.create_task(read(decoders, files["GIF"]))
        await asyncio.sleep(0)
        waiting = asyncio.create_task(read(decoders, files["PNG"]))
        os.kill(pid, number)
        os.kill(pid, signal.SIGCONT)
        with pytest.raises(UndecodableImage, match="broke its decoder"):
            await crashing
        assert (await waiting)[0].width == 64
        assert pid not in decoders.pids
    assert told.lost() == {"crash": 1, "killed": 0, "timeout": 0}


async def test_an_image_whose_decoder_was_killed_from_outside_is_tried_again(files: dict[str, bytes]) -> None:
    told = Told()
    async with Decoders(limits(), metrics=told.metrics) as decoders:
        await decoders.ready()
        (pid,) = decoders.pids
        os.kill(pid, signal.SIGSTOP)
        reading = asyncio.create_task(read(decoders, files["PNG"]))
        await asyncio.sleep(0)
        os.kill(pid, signal.SIGKILL)
        assert (await reading)[0].width == 64
        (pid,) = decoders.pids
        os.kill(pid, signal.SIGKILL)  # while it has nothing to do
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert (await read(decoders, files["GIF"]))[0].width == 64
    assert told.lost() == {"crash": 0, "killed": 2, "timeout": 0}


async def test_an_image_that_takes_too_long_is_refused_and_its_process_ended(files: dict[str, bytes]) -> None:
    told = Told()
    async with Decoders(limits(timeout_s=0.2), metrics=told.metrics) as decoders:
        await decoders.ready()
        (pid,) = decoders.pids
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(UndecodableImage, match=r"more than 0\.2 seconds"):
            await read(decoders, files["PNG"])
        assert told.lost() == {"crash": 0, "killed": 0, "timeout": 1}
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_memory_beyond_what_an_image_may_take_is_not_given(
    files: dict[str, bytes], saved: Callable[..., bytes]
) -> None:
    # CMYK takes several copies to become RGB: 400 MB, where there are 128 MiB for a decoder as such.
    data = saved(Image.new("CMYK", (4400, 4400)), "TIFF", compression="tiff_lzw")
    async with Decoders(limits(most_bytes=MIB)) as decoders:
        with pytest.raises(UndecodableImage):
            await read(decoders, data)
        assert (await read(decoders, files["PNG"]))[0].width == 64


async def test_a_caller_that_leaves_takes_its_process_along_where_that_does_not_answer_soon(
    files: dict[str, bytes],
) -> None:
    async with Decoders(limits()) as decoders:
        await decoders.ready()
        (pid,) = decoders.pids
        os.kill(pid, signal.SIGSTOP)
        reading = asyncio.create_task(read(decoders, files["PNG"]))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert (await read(decoders, files["GIF"]))[0].width == 64
        assert pid not in decoders.pids


async def test_callers_that_leave_while_they_wait_leave_nothing_behind(files: dict[str, bytes]) -> None:
    async with Decoders(limits(processes=2)) as decoders:
        for _ in range(20):
            tasks = [asyncio.create_task(read(decoders, files["PNG"])) for _ in range(8)]
            await asyncio.sleep(0.001)
            for task in tasks[::2]:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            assert all(isinstance(result, tuple) for result in ended[1::2])
        # An answer that came in the moment in which its caller left is not seen: that decoder is replaced.
        while len(decoders.pids) < 2:
            await asyncio.sleep(0.05)


async def test_pixels_are_their_owners_until_they_go(saved: Callable[..., bytes]) -> None:
    data = [saved(Image.new("RGB", (40, 30), (value,) * 3), "PNG") for value in range(12)]
    async with Decoders(limits(processes=2)) as decoders:
        kept = [pixels for _, pixels in await asyncio.gather(*(read(decoders, each) for each in data))]
        for value, pixels in enumerate(kept):
            assert (pixels == value).all()
        del pixels, kept
        gc.collect()
        await read(decoders, data[0])
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for each in data:
            await read(decoders, each)
        assert len(os.listdir("/proc/self/fd")) == before, "memory is used again"  # noqa: PTH208


async def test_where_no_process_can_be_started_images_are_refused_at_once(
    files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    async with Decoders(limits()) as decoders:
        with pytest.raises(BackendUnavailable):
            await decoders.ready()
        with pytest.raises(BackendUnavailable):
            await read(decoders, files["PNG"])


def test_a_confined_process_opens_no_file_starts_no_program_and_connects_to_nothing(tmp_path: Path) -> None:
    tried = subprocess.run(
        [sys.executable, "-c", _TRIES, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert tried.stderr == ""
    confined, *results = tried.stdout.split("\n")[:-1]
    if "Landlock" not in confined or "limits only" in confined:
        pytest.skip(f"this kernel has no Landlock: {confined}")
    assert results == ["read PermissionError", "write PermissionError", "run PermissionError", "call PermissionError"]


_TRIES = """
import socket, subprocess, sys
from app.decoding.confinement import confine
server = socket.create_server(("127.0.0.1", 0))
print(confine())
def tried(what, work):
    try:
        work()
    except OSError as error:
        print(what, type(error).__name__)
    else:
        print(what, "worked")
tried("read", lambda: open("/etc/hostname"))
tried("write", lambda: open(sys.argv[1] + "/file", "w"))
tried("run", lambda: subprocess.run(["/bin/true"]))
tried("call", lambda: socket.create_connection(server.getsockname()))
"""


class Told:
    """What the decoders tell."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.metrics = DecoderMetrics(SeriesBook(self._registry))

    def lost(self) -> dict[str, float | None]:
        name = "likeness_decoders_lost_total"
        return {reason: self._registry.get_sample_value(name, {"reason": reason}) for reason in DecoderLoss}
