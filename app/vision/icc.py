"""Walks over a colour profile before the colour engine reads it: what it declares must fit into what it holds.

LittleCMS reserves what a table declares, up to 512 MB, before it reads the table: a profile of 700 bytes is enough.
"""

from __future__ import annotations

import math
import struct
from typing import Final

_HEADER: Final = 128
_MOST_TAGS: Final = 100  # LittleCMS' own limit


def is_whole(profile: bytes) -> bool:
    """Whether all tables of a profile are inside it (ICC.1:2022, sections 7.3 and 10).

    Args:
        profile: as it is embedded in a picture.
    """
    try:
        (count,) = struct.unpack_from(">I", profile, _HEADER)
        if count > _MOST_TAGS:
            return False
        for index in range(count):
            start, size = struct.unpack_from(">II", profile, _HEADER + 8 + 12 * index)
            tag = profile[start : start + size]
            if len(tag) < size or _declared(tag) > size:
                return False
    except struct.error:
        return False
    return True


def _declared(tag: bytes) -> float:
    """Bytes that a tag must have for what it declares; infinity where its tables cannot be told."""
    match tag[:4]:
        case b"mluc":  # texts by language
            needed: float = 16 + 12 * _number(tag, 8)
        case b"curv":
            needed = 12 + 2 * _number(tag, 8)
        case b"mft1" | b"mft2":
            needed = _table(tag)
        case b"mAB " | b"mBA ":
            needed = _pipeline(tag)
        case b"mpet":  # a chain of any elements; pictures have them hardly ever
            needed = math.inf
        case _:
            needed = 0
    return needed


def _table(tag: bytes) -> int:
    inputs, outputs, grid = struct.unpack_from("3B", tag, 8)
    cells: int = outputs * grid**inputs
    if tag[:4] == b"mft1":
        return 48 + 256 * int(inputs + outputs) + cells
    before, after = struct.unpack_from(">2H", tag, 48)
    return 52 + 2 * (int(inputs * before + outputs * after) + cells)


def _pipeline(tag: bytes) -> int:
    inputs, outputs = struct.unpack_from("2B", tag, 8)
    table = _number(tag, 24)
    if not table:
        return 32
    sides = struct.unpack_from(f"{inputs}B", tag, table)
    (width,) = struct.unpack_from("B", tag, table + 16)
    return table + 20 + int(math.prod(sides) * outputs * width)


def _number(tag: bytes, at: int) -> int:
    (number,) = struct.unpack_from(">I", tag, at)
    return int(number)
