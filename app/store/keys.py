"""How ids and tags are written in Milvus, so that each of its engines can find them again.

Two characters cannot be written in a filter of Milvus Lite 2.5.1: newline and return (no escape means them). And it
builds the SQL of a delete without doubling apostrophes, so an id with one could not be deleted or replaced, or would
delete others. Control characters that no id may hold stand for these three, on every engine alike. Byte order stays,
except that an apostrophe sorts before a space.
"""

from __future__ import annotations

import re

from app.errors import InvalidRequest

_STORED = str.maketrans({"\n": "\x0b", "\r": "\x0c", "'": "\x1f"})
_RESTORED = str.maketrans({"\x0b": "\n", "\x0c": "\r", "\x1f": "'"})
_FORBIDDEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")


def stored(text: str) -> str:
    """What to write for an id or a tag; as long as the text itself.

    Raises:
        InvalidRequest: it holds a control character other than tab, newline and return, or half a surrogate pair.
    """
    if _FORBIDDEN.search(text):
        raise InvalidRequest("An id or a tag may not hold control characters other than tab, newline and return.")
    return text.translate(_STORED)


def restored(written: str) -> str:
    """The id or tag that was written."""
    return written.translate(_RESTORED)
