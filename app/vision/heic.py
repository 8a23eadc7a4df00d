"""HEIC pictures through libheif: size, profile and pixels of the primary picture, and nothing else of the file."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from pi_heif import heif as _binding
from PIL import Image

_PLAIN_MODES: Final = frozenset({"L", "RGB", "RGBA", "RGBa"})


class HeicPicture:
    """The primary picture of an HEIC file; libheif turns and mirrors it as the file says.

    libheif's binding is called below pi-heif's own classes. Those read all metadata at once, which ends the process
    (a null pointer, pi-heif 1.4.0) where an item's type is no UTF-8: one flipped byte is enough. Nor do they leave the
    choice of rows as libheif laid them out: repacked ones have a length computed from what the header claims.

    Args:
        data: the whole file.

    Raises:
        ValueError, RuntimeError, OSError, SyntaxError, EOFError: damaged; which one is up to the binding.
    """

    def __init__(self, data: bytes) -> None:
        # The binding takes the memory of whatever it is given for that of bytes, unchecked.
        found = _binding._pi_heif.load_file(
            bytes(data),
            1,  # threads: the callers decode several images side by side already
            1,  # more than 8 bits of colour are scaled to 8
            0,  # RGB, not BGR
            0,  # rows as libheif laid them out, padding included
            0,  # more than 8 bits of grey are left as they are
            "",  # any decoder
            0,  # libheif's limits stay on
        )
        pictures = [picture for picture in found if picture is not None]
        if not pictures:
            raise ValueError("The file holds no picture.")
        self._picture: Any = next((picture for picture in pictures if picture.primary), pictures[0])

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as seen."""
        width, height = self._picture.size_mode[0]
        return int(width), int(height)

    def load(self) -> Image.Image:
        """Decodes the pixels.

        Returns:
            An image of mode L, RGB, RGBA or RGBa, with ``info["icc_profile"]`` where the file has a profile.

        Raises:
            ValueError, RuntimeError, OSError, SyntaxError, EOFError: damaged, or of another size than claimed.
        """
        claimed = self.size
        rows = self._picture.data  # decodes; size and stride are only certain afterwards
        (width, height), mode = self._picture.size_mode
        if (width, height) != claimed:
            raise ValueError("The picture's size is another one than its header says.")
        stride = self._picture.stride
        if mode in _PLAIN_MODES:
            image = Image.frombytes(mode, (width, height), rows, "raw", mode, stride)
        else:  # "I;10" or "I;12": grey of more than 8 bits, 16 bits a sample
            if stride < 2 * width or stride % 2:
                raise ValueError("The picture's rows are shorter than its header says.")
            samples = np.frombuffer(rows, "<u2").reshape(height, stride // 2)[:, :width]
            greatest = np.float32(2**self._picture.bit_depth - 1)
            image = Image.fromarray(np.rint(np.minimum(samples / greatest, 1) * np.float32(255)).astype(np.uint8))
        profile = self._picture.color_profile
        if profile.get("type") in ("rICC", "prof"):
            image.info["icc_profile"] = profile["data"]
        return image
