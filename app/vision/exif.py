"""The EXIF orientation of an image: read from the raw block, without trusting it."""

from __future__ import annotations

import struct

from PIL import Image

_ORIENTATION_TAG = 0x0112
_SHORT, _LONG = 3, 4

#: What turns stored pixels into what a person sees, by orientation (EXIF 2.32, section 4.6.4 A). 1 needs nothing.
TRANSPOSES: dict[int, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def swaps_sides(orientation: int) -> bool:
    """Whether an image of this orientation is seen with width and height exchanged."""
    return orientation >= 5


def read_orientation(exif: bytes | None) -> int:
    r"""Finds the orientation in an EXIF block.

    Pillow's own reader is not used: it falls back to XMP, which browsers ignore, and raises on damaged blocks,
    although a picture with a damaged block is still a picture.

    Args:
        exif: a TIFF structure, with or without the ``Exif\0\0`` that JPEG puts before it; None where there is none.

    Returns:
        1 to 8; 1 (as stored) where the block is missing, damaged or holds another value.
    """
    if not exif:
        return 1
    while exif.startswith(b"Exif\0\0"):
        exif = exif[6:]
    order = {b"II": "<", b"MM": ">"}.get(exif[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "L", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind = struct.unpack_from(order + "HH", exif, entry)
            if tag == _ORIENTATION_TAG and kind in (_SHORT, _LONG):
                (value,) = struct.unpack_from(order + ("H" if kind == _SHORT else "L"), exif, entry + 8)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
