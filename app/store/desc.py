"""Stores JSON text of 65,536 bytes in a Milvus VARCHAR, which holds 65,535.

The first byte of a JSON container or string says which byte ends it, so the last one is not stored. A Milvus JSON
field would not do: it reorders keys, rounds big integers and drops duplicate keys.
"""

from __future__ import annotations

from app.errors import TooLarge

MAX_STORED_BYTES = 65_535
_CLOSING = {"{": "}", "[": "]", '"': '"'}


def stored(text: str) -> str:
    """What to store for a compact JSON text.

    Raises:
        TooLarge: it would not fit: more than 65,536 bytes of UTF-8, or 65,535 for a number.
        ValueError: the text is not compact JSON.
    """
    closing = _CLOSING.get(text[:1])
    unclosed = closing is not None and (len(text) < 2 or not text.endswith(closing))
    if not text or text != text.strip() or unclosed:
        raise ValueError("desc is not compact JSON text")
    kept = text if closing is None else text[:-1]
    if len(kept.encode()) > MAX_STORED_BYTES:
        raise TooLarge("desc is larger than 64 KiB.")
    return kept


def restored(kept: str) -> str:
    """The JSON text that was stored."""
    return kept + _CLOSING.get(kept[:1], "")
