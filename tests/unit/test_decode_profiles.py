"""Decoding: colour profiles that declare more than they hold cost neither memory nor the picture."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from app.vision.decode import decode
from app.vision.icc import is_whole
from tests.pictures import drawing, encoded

STANDARD = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MATRIX = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)


def with_tag(name: bytes, body: bytes, profile: bytes = STANDARD) -> bytes:
    """A profile with one tag in the place of its own."""
    (count,) = struct.unpack_from(">I", profile, 128)
    entries = [struct.unpack_from(">4sII", profile, 132 + 12 * index) for index in range(count)]
    tags = [(each, profile[start : start + size]) for each, start, size in entries if each != name] + [(name, body)]
    at = 132 + 12 * len(tags)
    table, data = struct.pack(">I", len(tags)), b""
    for each, held in tags:
        table += struct.pack(">4sII", each, at + len(data), len(held))
        data += held + bytes(-len(held) % 4)
    whole = profile[:128] + table + data
    return struct.pack(">I", len(whole)) + whole[4:]


def curves(count: int) -> bytes:
    return b"".join(b"para" + bytes(8) + struct.pack(">i", 65536) for _ in range(count))


# One that is applied: those that are called sRGB are not.
SOUND = with_tag(
    b"desc", b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", 8, 28) + "Test".encode("utf-16-be")
)
BOMBS = {
    "texts": with_tag(b"desc", b"mluc" + bytes(4) + struct.pack(">II", 20_000_000, 12) + bytes(24), SOUND),
    "8 bits": with_tag(b"A2B0", b"mft1" + bytes(4) + bytes([3, 3, 255, 0]) + MATRIX + bytes(256 * 6), SOUND),
    "16 bits": with_tag(b"A2B0", b"mft2" + bytes(4) + bytes([3, 3, 255, 0]) + MATRIX + struct.pack(">HH12H", 2, 2, *[0, 9] * 6), SOUND),
    "pipeline": with_tag(b"A2B0", b"mAB " + bytes(4) + bytes([3, 3, 0, 0]) + struct.pack(">5I", 32, 0, 0, 80, 32) + curves(3) + bytes([255] * 3 + [0] * 13 + [2, 0, 0, 0]), SOUND),
    "curve": with_tag(b"rTRC", b"curv" + bytes(4) + struct.pack(">I", 0x7FFF), SOUND),
    "elements": with_tag(b"D2B0", b"mpet" + bytes(4) + struct.pack(">HHI", 3, 3, 1), SOUND),
    "tags": SOUND[:128] + struct.pack(">I", 0xFFFFFFFF) + SOUND[132:],
    "outside": with_tag(b"desc", b"mluc" + bytes(12), SOUND)[:-8],
    "cut": SOUND[:130],
    "nothing": b"",
}  # fmt: skip


def kilobytes(name: str) -> int:
    return int(Path("/proc/self/status").read_text().partition(f"{name}:")[2].split()[0])


@pytest.mark.parametrize("name", BOMBS)
def test_a_profile_that_declares_more_than_it_holds_is_left_out(name: str) -> None:
    assert not is_whole(BOMBS[name])
    picture = drawing(1, size=(64, 48))
    plain, bomb = encoded(picture), encoded(picture, icc_profile=BOMBS[name])
    expected = decode(plain, max_pixels=10_000)
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark starts anew
    before = kilobytes("VmRSS")
    assert np.array_equal(decode(bomb, max_pixels=10_000), expected)
    assert kilobytes("VmHWM") - before < 32_000


@pytest.mark.parametrize("space", ["sRGB", "LAB", "XYZ"])
def test_a_sound_profile_is_whole(space: str) -> None:
    assert is_whole(ImageCms.ImageCmsProfile(ImageCms.createProfile(space)).tobytes())  # type: ignore[arg-type]


def test_a_sound_table_of_colours_is_whole_and_applied() -> None:
    """Two grid points a channel, exchanged: black is white."""
    cells = b"".join(bytes([255 - 255 * (n >> 2 & 1), 128, 128]) for n in range(8))
    ramps = bytes(range(256)) * 3
    profile = bytearray(
        with_tag(b"A2B0", b"mft1" + bytes(4) + bytes([3, 3, 2, 0]) + MATRIX + ramps + cells + ramps, SOUND)
    )
    profile[20:24] = b"Lab "
    assert is_whole(bytes(profile))
    data = encoded(Image.new("RGB", (8, 8), "black"), "PNG", icc_profile=bytes(profile))
    assert decode(data, max_pixels=100).min() > 200
    assert Image.open(io.BytesIO(data)).getpixel((0, 0)) == (0, 0, 0)
