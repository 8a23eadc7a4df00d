"""Bytes of an image file to RGB pixels as a person sees them, within a limit that is checked before decoding."""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ImageFile import ImageFile

from app.errors import LikenessError, TooLarge, UndecodableImage
from app.vision import exif, image_file, pixels
from app.vision.heic import HeicPicture
from app.vision.image_file import ImageFormat
from app.vision.letterbox import squash_image

# Everything that Pillow's and libheif's readers were seen to raise on damaged bytes, besides what OSError and
# ValueError already cover. MemoryError is what a codec reports when damaged bytes ask for absurd buffers.
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    MemoryError,
    ArithmeticError,
    LookupError,
    RuntimeError,
    AttributeError,
    AssertionError,
    struct.error,
    zlib.error,
)

# TIFF 6.0 section 15: the size of one tile, which libtiff decodes as a whole.
_TILE_WIDTH, _TILE_LENGTH = 322, 323

# Upper bounds in bytes of memory for one pixel at the worst moment, measured per format with every extra that needs
# a copy (transparency, profile, orientation): Pillow keeps 4 bytes a pixel, a second image while it converts or turns,
# and 2 × 3 bytes while it hands the array over. Codecs add their own: coefficients of a progressive JPEG, two canvases
# of WebP, the planes and the interleaved copy of AVIF and HEIC. Readers hold one or two copies of the file besides.
_BYTES_PER_PIXEL = {
    ImageFormat.JPEG: 16,
    ImageFormat.PNG: 20,
    ImageFormat.WEBP: 28,
    ImageFormat.GIF: 20,
    ImageFormat.BMP: 16,
    ImageFormat.TIFF: 32,
    ImageFormat.AVIF: 28,
    ImageFormat.HEIC: 28,
}


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What an image file says about itself.

    Attributes:
        format: the file format.
        width: pixels, as seen after EXIF orientation.
        height: pixels, as seen after EXIF orientation.
        decoded_bytes: upper estimate of the memory in bytes that decoding at full size takes, all copies included.
    """

    format: ImageFormat
    width: int
    height: int
    decoded_bytes: int


def read_header(data: bytes, *, max_pixels: int | None = None) -> ImageHeader:
    """Reads format and size without decoding a pixel.

    Args:
        data: the whole file.
        max_pixels: most pixels (width × height) of the stored image; None: any number.

    Raises:
        TooLarge: more than ``max_pixels``.
        UndecodableImage: no image of an accepted format, or its header is damaged.
    """
    kind = image_file.recognise(data)
    with _damage_translated(kind):
        if kind is ImageFormat.PNG and max_pixels is not None:
            # Before the file is opened: what only claims a size is told that it claims too much.
            _check_size(image_file.png_canvas(data), max_pixels)
        if kind is ImageFormat.HEIC:
            width, height = HeicPicture(data).size
        elif kind is ImageFormat.WEBP:
            width, height = _as_seen(image_file.webp_canvas(data), exif.read_orientation(image_file.webp_exif(data)))
        else:
            image = image_file.open_image(kind, data)
            width, height = _as_seen(image.size, _orientation(kind, image, data))
        if max_pixels is not None:
            _check_size((width, height), max_pixels)
    return ImageHeader(kind, width, height, width * height * _BYTES_PER_PIXEL[kind] + 2 * len(data))


def decoded_size(header: ImageHeader, needed_side: int | None) -> tuple[int, int]:
    """Most rows and columns that ``decode`` gives for an image of this header.

    Args:
        header: of the image.
        needed_side: as for ``decode``.

    Returns:
        Height and width in pixels.
    """
    scale = 1
    if header.format is ImageFormat.JPEG and needed_side is not None:
        scale = _reduction(header.width, header.height, needed_side)
    return -(-header.height // scale), -(-header.width // scale)


def decode(data: bytes, *, max_pixels: int, needed_side: int | None = None) -> NDArray[np.uint8]:
    """Decodes an image file to RGB as a person sees it.

    EXIF orientation is applied, transparency laid on white, deep samples scaled to 8 bits, CMYK and embedded colour
    profiles converted to sRGB. Of an animation or a multi-page file only the first frame is decoded.

    Args:
        data: the whole file.
        max_pixels: most pixels (width × height) of the stored image.
        needed_side: the long side in pixels beyond which the caller needs no detail: a JPEG may come back at 1/2,
            1/4 or 1/8 of its size, its long side still at least this. None: full size.

    Returns:
        uint8 [H, W, 3], RGB, C-contiguous, read-only.

    Raises:
        TooLarge: more than ``max_pixels``; known from the header, before anything is decoded.
        UndecodableImage: no image of an accepted format, truncated or damaged.
    """
    kind = image_file.recognise(data)
    with _damage_translated(kind):
        return np.asarray(_seen(kind, data, max_pixels, needed_side))


def decode_squashed(data: bytes, *, max_pixels: int, needed_side: int | None, size: int) -> NDArray[np.uint8]:
    """Decodes an image file as ``decode`` does, and scales it to a square as ``app.vision.letterbox.squash`` does.

    Args:
        data: the whole file.
        max_pixels: most pixels (width × height) of the stored image.
        needed_side: the long side in pixels beyond which the square needs no detail; None: none is left out.
        size: side of the square, in pixels.

    Returns:
        uint8 [size, size, 3], RGB, read-only.

    Raises:
        TooLarge, UndecodableImage: as ``decode``.
    """
    kind = image_file.recognise(data)
    with _damage_translated(kind):
        return squash_image(_seen(kind, data, max_pixels, needed_side), size)


def _seen(kind: ImageFormat, data: bytes, max_pixels: int, needed_side: int | None) -> Image.Image:
    """The image as a person sees it, of mode RGB."""
    if kind is ImageFormat.HEIC:
        loaded, orientation = _load_heic(data, max_pixels), 1
    else:
        loaded, orientation = _load(kind, data, max_pixels, needed_side)
    seen = pixels.to_srgb(loaded)
    del loaded
    return seen.transpose(exif.TRANSPOSES[orientation]) if orientation in exif.TRANSPOSES else seen


def _load(kind: ImageFormat, data: bytes, max_pixels: int, needed_side: int | None) -> tuple[Image.Image, int]:
    if kind is ImageFormat.WEBP:
        _check_size(image_file.webp_canvas(data), max_pixels)
    image = image_file.open_image(kind, data)
    orientation = _orientation(kind, image, data)
    _check_size(_as_seen(image.size, orientation), max_pixels)
    if kind is ImageFormat.JPEG and needed_side is not None:
        _reduce(image, needed_side)
    elif kind is ImageFormat.TIFF:
        _check_tiles(image, max_pixels)
        image.info.pop("xmp", None)  # Pillow would turn the image by an orientation found there
    elif kind is ImageFormat.PNG:
        _scale_transparent_value(image, depth=data[24])
    image.load()
    return image, orientation


def _load_heic(data: bytes, max_pixels: int) -> Image.Image:
    picture = HeicPicture(data)
    _check_size(picture.size, max_pixels)
    return picture.load()


def _orientation(kind: ImageFormat, image: ImageFile, data: bytes) -> int:
    """The turn that is still to be made: Pillow turns a TIFF itself."""
    if kind is ImageFormat.TIFF:
        return 1
    return exif.read_orientation(image_file.webp_exif(data) if kind is ImageFormat.WEBP else image.info.get("exif"))


def _as_seen(size: tuple[int, int], orientation: int) -> tuple[int, int]:
    return (size[1], size[0]) if exif.swaps_sides(orientation) else size


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise TooLarge(
            f"The image is {width}×{height} pixels; at most {max_pixels} pixels are accepted. Send a smaller one."
        )


def _check_tiles(image: ImageFile, max_pixels: int) -> None:
    """Refuses a TIFF whose tiles are larger than any image may be: libtiff allocates a whole one."""
    tags = getattr(image, "tag_v2", {})
    width, length = tags.get(_TILE_WIDTH, 0), tags.get(_TILE_LENGTH, 0)
    if width * length > max_pixels:
        raise TooLarge(f"The image has tiles of {width}×{length} pixels; at most {max_pixels} pixels are accepted.")


def _reduce(image: ImageFile, needed_side: int) -> None:
    """Lets libjpeg decode at 1/8, 1/4 or 1/2 where the long side stays at least ``needed_side`` pixels."""
    width, height = image.size
    scale = _reduction(width, height, needed_side)
    if scale > 1:
        image.draft(None, (max(1, width // scale), max(1, height // scale)))


def _reduction(width: int, height: int, needed_side: int) -> int:
    """The scale at which ``draft`` decodes then; an image of a few rows would be given a smaller one than asked for."""
    possible = (scale for scale in (8, 4, 2) if min(width, height) >= scale)
    return next((scale for scale in possible if -(-max(width, height) // scale) >= needed_side), 1)


def _scale_transparent_value(image: ImageFile, *, depth: int) -> None:
    """Brings the value that a PNG names as transparent (tRNS) to the 8 bits that Pillow gives its samples."""
    key = image.info.get("transparency")
    if image.mode == "L" and isinstance(key, int) and depth in (2, 4):
        image.info["transparency"] = key * 255 // (2**depth - 1)
    elif image.mode == "RGB" and isinstance(key, tuple) and depth == 16:
        image.info["transparency"] = tuple(value >> 8 for value in key)


@contextlib.contextmanager
def _damage_translated(kind: ImageFormat) -> Iterator[None]:
    """Turns whatever a reader raises on damaged bytes into one error."""
    try:
        yield
    except LikenessError:
        raise
    except Image.DecompressionBombError as error:
        raise TooLarge(f"The {kind} image has too many pixels. Send a smaller one.") from error
    except _DAMAGE as error:
        raise UndecodableImage(f"The {kind} image is truncated or damaged. Send the whole file.") from error
