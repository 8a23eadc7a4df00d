"""Base64 data URIs to bytes (RFC 2397)."""

from __future__ import annotations

import urllib.parse
from contextlib import suppress
from typing import Final

import pybase64

from app.errors import TooLarge, UnsupportedUri

_SCHEME: Final = "data:"
_WHITESPACE: Final = str.maketrans("", "", " \t\r\n\f")


def is_data_uri(uri: str) -> bool:
    """Whether a URI has the scheme ``data``."""
    return uri[: len(_SCHEME)].lower() == _SCHEME


def decode_data_uri(uri: str, *, max_bytes: int) -> bytes:
    """Decodes ``data:[<mime>][;<parameter>]…;base64,<payload>``.

    The MIME type is not looked at: the bytes say better what they are. Percent-encoding and whitespace in the payload
    are tolerated, and so is missing padding; any other stray character is not, the URL-safe alphabet included.

    Args:
        uri: a URI of the scheme ``data``.
        max_bytes: most bytes that the payload may decode to.

    Raises:
        UnsupportedUri: not base64, or malformed.
        TooLarge: more than ``max_bytes``; known before decoding.
    """
    head, comma, payload = uri.partition(",")
    if not comma or not head.rstrip().lower().endswith(";base64"):
        raise UnsupportedUri("The data URI is not base64: send data:image/jpeg;base64, and then the bytes.")
    if len(payload) <= _encoded_length(max_bytes):
        # Nearly all come without anything that must be tolerated, and to look for that takes longer than to decode.
        with suppress(ValueError):
            return pybase64.b64decode(payload, validate=True)
    if "%" in payload:
        payload = urllib.parse.unquote(payload, errors="replace")
    payload = payload.translate(_WHITESPACE).rstrip("=")
    if len(payload) > _encoded_length(max_bytes):
        raise TooLarge(f"The data URI's image is larger than {max_bytes} bytes. Send a smaller one.")
    try:
        return pybase64.b64decode(payload + "=" * (-len(payload) % 4), validate=True)
    except ValueError as error:  # binascii.Error is one
        raise UnsupportedUri(
            "The data URI's base64 is malformed. Use the standard alphabet (A–Z a–z 0–9 + /)."
        ) from error


def _encoded_length(size: int) -> int:
    """Characters that base64 needs for that many bytes, without padding."""
    return -(-4 * size // 3)
