"""What the service and a decoder say to each other, as JSON; files and pixels travel beside it in shared memory."""

from __future__ import annotations

import msgspec

from app.decoding.form import Form

#: Longest message, in bytes.
MOST_BYTES = 8192


class Read(msgspec.Struct, tag=True, forbid_unknown_fields=True):
    """Read the file that comes with this message, and decode it into the memory that comes after it.

    Attributes:
        size: of the file, in bytes.
        max_pixels: most pixels that its image may have.
        form: in which the image is wanted.
        memory: bytes that decoding may take; where it needs more, or more room, only the header is told.
    """

    size: int
    max_pixels: int
    form: Form
    memory: int


class Ready(msgspec.Struct, tag=True):
    """The decoder has started.

    Attributes:
        confined: what keeps it from files and from the network, as far as the kernel can.
    """

    confined: str


class Image(msgspec.Struct, tag=True):
    """What a file holds.

    Attributes:
        format: of ``ImageFormat``.
        width: of the stored image as seen, in pixels.
        height: likewise.
        decoded_bytes: upper estimate of the memory that decoding takes.
        rows: of the RGB pixels that lie in the shared memory; 0 where nothing was decoded.
        columns: of the same.
    """

    format: str
    width: int
    height: int
    decoded_bytes: int
    rows: int
    columns: int


class Refused(msgspec.Struct, tag=True):
    """The file is not to be decoded; ``code`` is the error's machine code and ``message`` its sentence."""

    code: str
    message: str


class Failed(msgspec.Struct, tag=True):
    """The decoder met a failure that nobody expected."""

    what: str


Answer = Ready | Image | Refused | Failed
