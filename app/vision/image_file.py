"""Which of the accepted formats some bytes are, and opening them with that format's reader and no other."""

from __future__ import annotations

import enum
import io
import re
import warnings
from collections.abc import Callable

from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from app.errors import UndecodableImage
from app.vision import structure


class ImageFormat(enum.StrEnum):
    """A format that the service accepts."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"
    GIF = "GIF"
    BMP = "BMP"
    TIFF = "TIFF"
    AVIF = "AVIF"
    HEIC = "HEIC"


_MAGIC: dict[bytes, ImageFormat] = {
    b"\xff\xd8\xff": ImageFormat.JPEG,
    b"\x89PNG\r\n\x1a\n": ImageFormat.PNG,
    b"GIF87a": ImageFormat.GIF,
    b"GIF89a": ImageFormat.GIF,
    b"BM": ImageFormat.BMP,
    b"II*\0": ImageFormat.TIFF,
    b"MM\0*": ImageFormat.TIFF,
    b"II+\0": ImageFormat.TIFF,  # BigTIFF
    b"MM\0+": ImageFormat.TIFF,
}

_READERS: dict[ImageFormat, type[ImageFile]] = {
    ImageFormat.JPEG: JpegImageFile,
    ImageFormat.PNG: PngImageFile,
    ImageFormat.WEBP: WebPImageFile,
    ImageFormat.GIF: GifImageFile,
    ImageFormat.BMP: BmpImageFile,
    ImageFormat.TIFF: TiffImageFile,
    ImageFormat.AVIF: AvifImageFile,
}

_STRUCTURE_CHECKS: dict[ImageFormat, Callable[[bytes], None]] = {
    ImageFormat.JPEG: structure.check_jpeg,
    ImageFormat.PNG: structure.check_png,
    ImageFormat.GIF: structure.check_gif,
    ImageFormat.TIFF: structure.check_tiff,
}

# ISO/IEC 23008-12 annex B and the AV1 image format's section 6: brands of HEVC and AV1 coded files.
_HEVC_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AV1_BRANDS = frozenset({b"avif", b"avis"})

_PILLOW_MODULES = re.compile(r"PIL\.")


def recognise(data: bytes) -> ImageFormat:
    """Tells the format by the first bytes.

    Raises:
        UndecodableImage: none of the accepted formats starts like this.
    """
    for magic, kind in _MAGIC.items():
        if data.startswith(magic):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if data[4:8] == b"ftyp":
        # A generic brand such as mif1 may come first: then the compatible brands tell the codec.
        end = min(int.from_bytes(data[:4], "big"), 512)
        brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
        if data[8:12] in _AV1_BRANDS or (brands & _AV1_BRANDS and not brands & _HEVC_BRANDS):
            return ImageFormat.AVIF
        if brands & _HEVC_BRANDS:
            return ImageFormat.HEIC
    if not data:
        raise UndecodableImage("The image is empty: 0 bytes. Send the bytes of an image file.")
    raise UndecodableImage("The bytes are no JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC image.")


def open_image(kind: ImageFormat, data: bytes) -> ImageFile:
    """Opens any format but HEIC: reads the header, not the pixels.

    The format's class is called directly. ``Image.open`` would let other readers try (an MPO's, for one) and judge
    the size by a limit that is global to the process.
    """
    _ignore_pillow_warnings()
    check = _STRUCTURE_CHECKS.get(kind)
    if check is not None:
        check(data)
    return _READERS[kind](io.BytesIO(data))


def webp_canvas(data: bytes) -> tuple[int, int]:
    """Reads width and height of a WebP file from its first chunk (RFC 9649, section 2).

    Needed before opening: Pillow's reader allocates two canvases of that size when it opens the file.

    Raises:
        ValueError: the first chunk is none that a WebP file starts with.
    """
    chunk, body = data[12:16], data[20:30]
    if chunk == b"VP8X" and len(body) == 10:
        return 1 + int.from_bytes(body[4:7], "little"), 1 + int.from_bytes(body[7:10], "little")
    if chunk == b"VP8L" and len(body) >= 5 and body[0] == 0x2F:
        bits = int.from_bytes(body[1:5], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if chunk == b"VP8 " and body[3:6] == b"\x9d\x01\x2a" and len(body) == 10:
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    raise ValueError("The WebP file starts with an unknown chunk.")


def png_canvas(data: bytes) -> tuple[int, int]:
    """Reads width and height of a PNG file from its first chunk (PNG, third edition, section 11.2.1).

    Raises:
        ValueError: the first chunk is not the one that every PNG file starts with.
    """
    if data[12:16] != b"IHDR" or len(data) < 24:
        raise ValueError("The PNG file starts with an unknown chunk.")
    return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")


def webp_exif(data: bytes) -> bytes | None:
    """Finds the EXIF chunk of a WebP file; None where there is none."""
    at = 12
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        if data[at : at + 4] == b"EXIF":
            return data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
    return None


def _ignore_pillow_warnings() -> None:
    """Keeps Pillow's warnings about odd metadata and large images out of the log.

    What they are about is checked here or raises anyway. The filter is added once for the process, because
    ``warnings.catch_warnings`` is not safe in a thread pool: threads that leave out of order restore each other's list.
    """
    if ("ignore", None, Warning, _PILLOW_MODULES, 0) not in warnings.filters:
        warnings.filterwarnings("ignore", module=_PILLOW_MODULES.pattern)
