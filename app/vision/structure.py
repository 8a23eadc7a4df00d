"""Walks over the parts of an image file that refuse those made to keep Pillow's readers busy.

Pillow reads segments, chunks, blocks and tags in Python loops: 20 MB of empty ones hold the interpreter for ten
seconds and more, before the first pixel. The limits here are far above what cameras and editors write.
"""

from __future__ import annotations

import struct
from typing import Final

_MOST_JPEG_SEGMENTS: Final = 2_048  # an ICC profile and an EXIF block may take 255 each
_MOST_JPEG_JUNK: Final = 65_536  # bytes between segments, which readers skip one by one
_MOST_PNG_CHUNKS: Final = 65_536  # some encoders cut the pixels into chunks of 1 KiB
_MOST_GIF_BLOCKS: Final = 8_192  # of at most 255 bytes each, before the first frame
_MOST_TIFF_TAGS: Final = 1_024
_MOST_TIFF_VALUES: Final = 1_048_576  # in one tag that is read as a list of numbers: offsets of strips or tiles

_JPEG_SOS, _JPEG_EOI = 0xDA, 0xD9
_JPEG_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})  # TEM, RSTn and SOI have no length

# TIFF 6.0, section 2, and BigTIFF: bytes of one value, by field type.
_TIFF_SIZES: Final = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
_TIFF_BYTE_TYPES: Final = frozenset({1, 2, 7})  # kept as bytes or text, not as a list


def check_jpeg(data: bytes) -> None:
    """Walks the segments up to the first scan (ITU-T T.81, annex B).

    Raises:
        ValueError: too many segments, too much between them, or no scan.
    """
    at, junk = 2, 0
    for _ in range(_MOST_JPEG_SEGMENTS):
        start = data.find(b"\xff", at)
        if start < 0:
            break
        end = start
        while data[end : end + 1] == b"\xff":
            end += 1
            if end - start > _MOST_JPEG_JUNK:
                raise ValueError("Too much padding between the JPEG's segments.")
        junk += start - at + end - start - 1
        if junk > _MOST_JPEG_JUNK:
            raise ValueError("Too many stray bytes between the JPEG's segments.")
        marker = data[end] if end < len(data) else _JPEG_EOI
        if marker == _JPEG_SOS:
            return
        if marker == _JPEG_EOI:
            break
        at = end + 1
        if marker not in _JPEG_BARE and marker != 0:
            at += int.from_bytes(data[at : at + 2], "big")
    raise ValueError("The JPEG has no scan, or too many segments before it.")


def check_png(data: bytes) -> None:
    """Walks the chunks of the whole file (PNG, third edition, section 5.3).

    Raises:
        ValueError: too many chunks.
    """
    at = 8
    for _ in range(_MOST_PNG_CHUNKS):
        if at + 8 > len(data):
            return
        at += 12 + int.from_bytes(data[at : at + 4], "big")
    raise ValueError("Too many chunks in the PNG.")


def check_gif(data: bytes) -> None:
    """Walks the extension blocks up to the first frame (GIF89a, section 23 and on).

    Raises:
        ValueError: too many blocks.
    """
    flags = data[10] if len(data) > 10 else 0
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    blocks = 0
    while data[at : at + 1] == b"!":
        at += 2
        while at < len(data):
            blocks += 1
            if blocks > _MOST_GIF_BLOCKS:
                raise ValueError("Too many blocks before the GIF's first frame.")
            size = data[at]
            at += 1 + size
            if size == 0:
                break


def check_tiff(data: bytes) -> None:
    """Walks the tags of the first page (TIFF 6.0, section 2, and BigTIFF).

    Raises:
        ValueError: too many tags or values, or tags that hold more bytes than the file.
        struct.error: the page's tags lie outside the file.
    """
    order = "<" if data[:2] == b"II" else ">"
    (version,) = struct.unpack_from(order + "H", data, 2)
    wide = version == 43
    (start,) = struct.unpack_from(order + ("Q" if wide else "L"), data, 8 if wide else 4)
    if start > len(data):
        raise ValueError("The TIFF's first page lies outside the file.")
    (tags,) = struct.unpack_from(order + ("Q" if wide else "H"), data, start)
    if tags > _MOST_TIFF_TAGS:
        raise ValueError("Too many tags in the TIFF.")
    entry = struct.Struct(order + ("HHQ8x" if wide else "HHL4x"))
    first, held = start + (8 if wide else 2), 0
    for index in range(tags):
        _, kind, count = entry.unpack_from(data, first + index * entry.size)
        held += count * _TIFF_SIZES.get(kind, 0)
        if kind not in _TIFF_BYTE_TYPES and count > _MOST_TIFF_VALUES:
            raise ValueError("Too many values in one of the TIFF's tags.")
    if held > len(data):
        raise ValueError("The TIFF's tags hold more bytes than the file.")
