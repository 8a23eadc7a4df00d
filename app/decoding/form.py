"""In which form the service wants an image."""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

from app.vision.decode import ImageHeader, decode, decode_squashed, decoded_size


class Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """As it is stored, smaller, or squashed to a square.

    Attributes:
        needed_side: the long side in pixels beyond which no detail is needed: a JPEG may come back smaller; None: all
            pixels.
        square: side in pixels of the square that the image is scaled to, whatever its proportions; None: it is not.
    """

    needed_side: int | None = None
    square: int | None = None

    def size(self, header: ImageHeader) -> tuple[int, int]:
        """Most rows and columns of an image with that header in this form."""
        return decoded_size(header, self.needed_side) if self.square is None else (self.square, self.square)

    def decode(self, data: bytes, *, max_pixels: int) -> NDArray[np.uint8]:
        """The image in this form: uint8 RGB [H, W, 3].

        Raises:
            TooLarge, UndecodableImage: as ``app.vision.decode.decode``.
        """
        if self.square is None:
            return decode(data, max_pixels=max_pixels, needed_side=self.needed_side)
        return decode_squashed(data, max_pixels=max_pixels, needed_side=self.needed_side, size=self.square)


#: All pixels.
WHOLE = Form()
