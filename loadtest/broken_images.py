"""Image files of every format that are broken in some way, each told by a number: the same one is the same file."""

from __future__ import annotations

import base64
import random
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Literal

from PIL import Image, ImageCms

from tests.heic_picture import TURNED_HEIC
from tests.pictures import drawing, encoded

FORMATS: Final = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF", "HEIC")
_ABSURD: Final = (0, 1, 0x7F, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFFFF00)
_SIZE: Final = (96, 64)
_LAYOUTS: Final[tuple[tuple[int, Literal["big", "little"]], ...]] = (
    (4, "big"), (4, "little"), (3, "little"), (2, "big"), (2, "little"),
)  # fmt: skip


@cache
def sound_files() -> dict[str, tuple[bytes, ...]]:
    """Drawn pictures in the variants that each format has."""
    colour = drawing(3, size=_SIZE)
    clear = colour.convert("RGBA")
    clear.putalpha(colour.convert("L"))
    grey, few, deep = colour.convert("L"), colour.quantize(16), colour.convert("L").convert("I;16")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = bytes(12)  # when it was made: the same file is to be the same
    more = [drawing(n, size=_SIZE) for n in (4, 5)]
    tags: dict[str, Any] = {"exif": exif, "icc_profile": bytes(profile)}
    return {
        "JPEG": (
            encoded(colour), encoded(colour, progressive=True), encoded(grey), encoded(colour.convert("CMYK")),
            encoded(colour, subsampling=0, restart_marker_blocks=2, **tags), encoded(colour, comment="x"),
        ),
        "PNG": (
            encoded(colour, "PNG"), encoded(clear, "PNG", **tags), encoded(few, "PNG", transparency=3),
            encoded(deep, "PNG"), encoded(grey, "PNG", compress_level=0), encoded(colour.convert("1"), "PNG"),
            encoded(colour, "PNG", save_all=True, append_images=more),
        ),
        "WebP": (
            encoded(colour, "WEBP"), encoded(clear, "WEBP", lossless=True), encoded(clear, "WEBP", **tags),
            encoded(colour, "WEBP", save_all=True, append_images=more, duration=50),
        ),
        "GIF": (
            encoded(few, "GIF"), encoded(few, "GIF", transparency=2, interlace=1, comment=b"x" * 300),
            encoded(few, "GIF", save_all=True, append_images=more, duration=50),
        ),
        "BMP": (encoded(colour, "BMP"), encoded(few, "BMP"), encoded(clear, "BMP"), _run_length_bmp()),
        "TIFF": (
            *(encoded(colour, "TIFF", compression=each) for each in ("raw", "tiff_lzw", "tiff_adobe_deflate", "jpeg")),
            encoded(few, "TIFF", compression="packbits"), encoded(colour.convert("1"), "TIFF", compression="group4"),
            encoded(colour.convert("CMYK"), "TIFF", **tags), encoded(deep, "TIFF"), encoded(grey.convert("F"), "TIFF"),
            encoded(colour, "TIFF", big_tiff=True), encoded(few, "TIFF", save_all=True, append_images=more),
        ),
        "AVIF": (
            encoded(colour, "AVIF", speed=10), encoded(clear, "AVIF", speed=10, **tags),
            encoded(grey, "AVIF", speed=10, subsampling="4:0:0"),
        ),
        "HEIC": (base64.b64decode(TURNED_HEIC),),
    }  # fmt: skip


def broken_file(number: int, seed: int) -> tuple[str, bytes]:
    """The file of a number: its format before it was broken, and its bytes."""
    kind = FORMATS[number % len(FORMATS)]
    chance = random.Random(f"{seed}:{number}")
    data = bytearray(chance.choice(sound_files()[kind]))
    for _ in range(chance.choice((1, 1, 1, 2, 3, 8))):
        chance.choice(_DAMAGES)(data, chance)
    if chance.random() < 0.7:
        _mend_checksums(data)
    return kind, bytes(data)


def _mend_checksums(data: bytearray) -> None:
    """Makes the checksums of a PNG's chunks right: readers look no further where they are not."""
    at = 8
    while data.startswith(b"\x89PNG") and at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        if end + 4 > len(data):
            return
        data[end : end + 4] = zlib.crc32(data[at + 4 : end]).to_bytes(4, "big")
        at = end + 4


def _run_length_bmp() -> bytes:
    """Pillow writes no compressed BMP: 8 rows of 16 pixels in runs, with an end of each row and one of the picture."""
    rows = b"\x10\x01\x00\x00" * 7 + b"\x08\x02\x00\x08" + bytes(8) + b"\x00\x01"
    palette = bytes(range(256)) * 4
    start = 54 + len(palette)
    header = b"".join(value.to_bytes(4, "little") for value in (40, 16, 8, 1 | 8 << 16, 1, len(rows), 0, 0, 256, 0))
    return b"BM" + b"".join(v.to_bytes(4, "little") for v in (start + len(rows), 0, start)) + header + palette + rows


def _place(data: bytearray, chance: random.Random) -> int:
    """Somewhere, more often in the first part: heads are there."""
    length = max(1, len(data))
    return chance.randrange(min(length, chance.choice((16, 64, 256, length))))


def _flip_bits(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.choice((1, 2, 20))):
        if data:
            data[_place(data, chance)] ^= 1 << chance.randrange(8)


def _overwrite(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    some = chance.randbytes(chance.choice((1, 4, 64)))
    data[at : at + len(some)] = some


def _truncate(data: bytearray, chance: random.Random) -> None:
    del data[_place(data, chance) :]


def _cut_out(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    del data[at : at + chance.choice((1, 2, 7, 100))]


def _repeat(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    piece = data[at : at + chance.choice((1, 4, 12, 200))]
    data[at:at] = piece * chance.choice((1, 3, 500))


def _swap(data: bytearray, chance: random.Random) -> None:
    first, second = sorted((_place(data, chance), _place(data, chance)))
    size = min(chance.choice((4, 16, 128)), max(1, second - first))
    data[first : first + size], data[second : second + size] = data[second : second + size], data[first : first + size]


def _absurd_number(data: bytearray, chance: random.Random) -> None:
    width = chance.choice((1, 2, 4))
    at = _place(data, chance)
    number = chance.choice(_ABSURD) & (1 << 8 * width) - 1
    data[at : at + width] = number.to_bytes(width, chance.choice(("big", "little")))


def _other_size(data: bytearray, chance: random.Random) -> None:
    """Another width or height, where both stand side by side."""
    sides = chance.choice((_SIZE, _SIZE[::-1], (_SIZE[0] - 1, _SIZE[1] - 1)))
    for width, order in _LAYOUTS:
        at = data.find(b"".join(side.to_bytes(width, order) for side in sides))
        if at >= 0:
            claimed = (chance.choice((1, 17, 500, 1900, 65535)), chance.choice((1, 17, 500, 1900, 65535)))
            data[at : at + 2 * width] = b"".join(side.to_bytes(width, order) for side in claimed)
            return


def _insert_zeros(data: bytearray, chance: random.Random) -> None:
    at = _place(data, chance)
    data[at:at] = bytes(chance.choice((1, 3, 1000)))


def _splice(data: bytearray, chance: random.Random) -> None:
    """The head of one file and the rest of another, perhaps of another format."""
    other = chance.choice(sound_files()[chance.choice(FORMATS)])
    at = _place(data, chance)
    data[at:] = other[chance.choice((at, 0, len(other) // 2)) :]


def _append(data: bytearray, chance: random.Random) -> None:
    data += chance.choice((bytes(1000), bytes(data), chance.randbytes(1000)))


_DAMAGES: Final[tuple[Callable[[bytearray, random.Random], None], ...]] = (
    _flip_bits, _flip_bits, _overwrite, _truncate, _cut_out, _repeat, _swap, _absurd_number, _absurd_number,
    _other_size, _insert_zeros, _splice, _append,
)  # fmt: skip
