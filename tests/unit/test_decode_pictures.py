"""Decoding: every format, turn, depth and colour space comes out as a person sees it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageCms

from app.vision.decode import decode, read_header

Saved = Callable[..., bytes]
Colour = tuple[int, int, int]

RED, GREEN, BLUE, YELLOW, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (250, 250, 10), (255, 255, 255)
PIXELS = 1_000_000


def corners(pixels: NDArray[np.uint8]) -> list[Colour]:
    """Colours near the top left, top right, bottom left and bottom right."""
    return [tuple(int(v) for v in pixels[y, x]) for y in (5, -6) for x in (5, -6)]  # type: ignore[misc]


def assert_corners(pixels: NDArray[np.uint8], expected: list[Colour], tolerance: int = 4) -> None:
    np.testing.assert_allclose(np.array(corners(pixels), int), np.array(expected), atol=tolerance)


def png(width: int, height: int, depth: int, kind: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG from raw rows, each with its filter byte."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    extra = b"".join(chunk(name, body) for name, body in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def profile(space: bytes, pcs: bytes, kind: bytes, tags: dict[bytes, bytes]) -> bytes:
    """A version 2 ICC profile (ICC.1:2001-04)."""
    white = b"XYZ \0\0\0\0" + struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    tags = {b"wtpt": white, b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(79), **tags}
    at = 128 + 4 + 12 * len(tags)
    table, bodies = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        padded = body + bytes(-len(body) % 4)
        table += name + struct.pack(">II", at + len(bodies), len(body))
        bodies += padded
    size = at + len(bodies)
    head = struct.pack(">I", size) + b"lcms\x02\x10\0\0" + kind + space + pcs + bytes(12) + b"acsp" + bytes(28)
    head += struct.pack(">3i", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + table + bodies


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF"])
def test_every_format_comes_out_with_its_colours_in_place(kind: str, files: dict[str, bytes]) -> None:
    pixels = decode(files[kind], max_pixels=PIXELS)
    assert pixels.shape == (48, 64, 3)
    assert pixels.dtype == np.uint8
    assert pixels.flags.c_contiguous
    assert_corners(pixels, [RED, GREEN, BLUE, YELLOW])


def test_a_heic_picture_is_turned_as_its_container_says(heic: bytes) -> None:
    assert_corners(decode(heic, max_pixels=PIXELS), [BLUE, RED, YELLOW, GREEN])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF", "HEIC"])
def test_the_header_tells_format_size_and_a_bound_of_the_memory(kind: str, files: dict[str, bytes]) -> None:
    header = read_header(files[kind])
    assert header.format == kind
    assert (header.width, header.height) == ((48, 64) if kind == "HEIC" else (64, 48))
    assert header.decoded_bytes >= 64 * 48 * 10


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, [RED, GREEN, BLUE, YELLOW]),
        (2, [GREEN, RED, YELLOW, BLUE]),
        (3, [YELLOW, BLUE, GREEN, RED]),
        (4, [BLUE, YELLOW, RED, GREEN]),
        (5, [RED, BLUE, GREEN, YELLOW]),
        (6, [BLUE, RED, YELLOW, GREEN]),
        (7, [YELLOW, GREEN, BLUE, RED]),
        (8, [GREEN, YELLOW, RED, BLUE]),
    ],
)
def test_each_exif_orientation_is_applied(
    kind: str, orientation: int, expected: list[Colour], saved: Saved, quadrants: Image.Image
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(quadrants, kind, exif=exif.tobytes(), quality=95)
    header, pixels = read_header(data), decode(data, max_pixels=PIXELS)
    assert pixels.shape[:2] == ((64, 48) if orientation >= 5 else (48, 64))
    assert (header.height, header.width) == pixels.shape[:2]
    assert_corners(pixels, expected, tolerance=12)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01", b"Exif\0\0MM\0*\xff\xff\xff\xff"]
)
def test_a_damaged_exif_block_does_not_cost_the_picture(exif: bytes, saved: Saved, quadrants: Image.Image) -> None:
    assert_corners(decode(saved(quadrants, "JPEG", exif=exif), max_pixels=PIXELS), [RED, GREEN, BLUE, YELLOW])


def test_an_orientation_beyond_eight_is_taken_as_upright(saved: Saved, quadrants: Image.Image) -> None:
    exif = Image.Exif()
    exif[0x0112] = 9
    assert decode(saved(quadrants, "JPEG", exif=exif.tobytes()), max_pixels=PIXELS).shape == (48, 64, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_only_the_first_frame_of_many_is_seen(kind: str, saved: Saved, quadrants: Image.Image) -> None:
    others = [Image.new("RGB", (64, 48), "black"), Image.new("RGB", (64, 48), "white")]
    data = saved(quadrants, kind, save_all=True, append_images=others)
    assert_corners(decode(data, max_pixels=PIXELS), [RED, GREEN, BLUE, YELLOW], tolerance=12)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_transparency_is_laid_on_white(kind: str, saved: Saved, quadrants: Image.Image) -> None:
    alpha = Image.new("L", quadrants.size, 255)
    alpha.paste(0, (0, 0, 32, 24))
    alpha.paste(128, (32, 0, 64, 24))
    quadrants.putalpha(alpha)
    data = saved(quadrants, kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert_corners(decode(data, max_pixels=PIXELS), [WHITE, (127, 255, 127), BLUE, YELLOW])


def test_a_palette_with_a_transparent_entry_is_laid_on_white(saved: Saved, quadrants: Image.Image) -> None:
    indexed = quadrants.quantize(4)
    for kind in ("PNG", "GIF"):
        data = saved(indexed, kind, transparency=indexed.getpixel((5, 5)))
        assert_corners(decode(data, max_pixels=PIXELS), [WHITE, GREEN, BLUE, YELLOW])


def test_grey_with_alpha_and_one_bit_pictures_become_rgb(saved: Saved) -> None:
    grey = Image.merge("LA", [Image.new("L", (8, 8), 100), Image.new("L", (8, 8), 255)])
    assert (decode(saved(grey, "PNG"), max_pixels=PIXELS) == 100).all()
    clear = Image.merge("LA", [Image.new("L", (8, 8), 100), Image.new("L", (8, 8), 0)])
    assert (decode(saved(clear, "PNG"), max_pixels=PIXELS) == 255).all()
    assert (decode(saved(Image.new("1", (8, 8), 1), "PNG"), max_pixels=PIXELS) == 255).all()


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_not_clipped(kind: str, saved: Saved) -> None:
    deep = np.linspace(0, 65535, 256).astype(np.uint16).reshape(1, 256).repeat(4, axis=0)
    pixels = decode(saved(Image.fromarray(deep), kind), max_pixels=PIXELS)
    assert (pixels[0] == np.arange(256)[:, None]).all()


def test_sixteen_bit_colour_is_scaled_not_clipped() -> None:
    row = b"\0" + b"".join(struct.pack(">3H", v * 257, 0, 65535 - v * 257) for v in range(256))
    pixels = decode(png(256, 1, 16, 2, row), max_pixels=PIXELS)
    assert (pixels[0, :, 0] == np.arange(256)).all()
    assert (pixels[0, :, 2] == np.arange(255, -1, -1)).all()


def test_integer_and_float_tiffs_span_black_to_white(saved: Saved) -> None:
    ramp = np.linspace(0, 1, 256).reshape(1, 256)
    for samples in (ramp.astype(np.float32), (ramp * 1000).astype(np.float32)):
        pixels = decode(saved(Image.fromarray(samples), "TIFF"), max_pixels=PIXELS)
        assert (pixels[0] == np.arange(256)[:, None]).all()
    signed = (ramp * (2**32 - 1) - 2**31).astype(np.int64).astype(np.int32)  # Pillow writes mode I as signed
    pixels = decode(saved(Image.fromarray(signed), "TIFF"), max_pixels=PIXELS)
    assert (pixels[0] == np.arange(256)[:, None]).all()


def test_a_float_tiff_with_infinities_and_gaps_still_shows_the_rest(saved: Saved) -> None:
    samples = np.array([[-np.inf, np.nan, 0.5, 2.0, np.inf]], np.float32)
    assert decode(saved(Image.fromarray(samples), "TIFF"), max_pixels=PIXELS)[0, :, 0].tolist() == [0, 0, 64, 255, 255]
    extreme = np.array([[-3e38, 0, 3e38]], np.float32)
    assert decode(saved(Image.fromarray(extreme), "TIFF"), max_pixels=PIXELS)[0, :, 0].tolist() == [0, 128, 255]


def test_a_tiff_whose_white_is_zero_is_not_shown_as_a_negative(saved: Saved) -> None:
    data = saved(Image.fromarray(np.full((4, 4), 65535, np.uint16)), "TIFF")
    photometric = struct.pack("<HHLH", 262, 3, 1, 1)
    assert photometric in data
    inverted = data.replace(photometric, struct.pack("<HHLH", 262, 3, 1, 0))
    assert (decode(inverted, max_pixels=PIXELS) == 0).all()


def test_the_value_named_transparent_is_found_at_every_depth() -> None:
    two_bits = png(4, 1, 2, 0, b"\0\x1b", (b"tRNS", b"\0\x02"))  # samples 0 1 2 3, of which 2 is clear
    assert decode(two_bits, max_pixels=PIXELS)[0, :, 0].tolist() == [0, 85, 255, 255]
    grey = png(2, 1, 16, 0, b"\0" + struct.pack(">2H", 257, 514), (b"tRNS", struct.pack(">H", 257)))
    assert decode(grey, max_pixels=PIXELS)[0, :, 0].tolist() == [255, 2]
    colour = png(
        2, 1, 16, 2, b"\0" + struct.pack(">6H", 0x1234, 0, 0, 0x2234, 0, 0), (b"tRNS", struct.pack(">3H", 0x1234, 0, 0))
    )
    assert decode(colour, max_pixels=PIXELS)[0].tolist() == [[255, 255, 255], [0x22, 0, 0]]


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_is_not_shown_as_a_negative(kind: str, saved: Saved, quadrants: Image.Image) -> None:
    data = saved(quadrants.convert("CMYK"), kind, quality=95)
    assert_corners(decode(data, max_pixels=PIXELS), [RED, GREEN, BLUE, YELLOW])


def test_ycck_jpeg_is_converted(saved: Saved, quadrants: Image.Image) -> None:
    ink = Image.eval(quadrants, lambda value: 255 - value).convert("YCbCr")  # luminance of cyan, magenta and yellow
    stored = Image.merge(
        "CMYK", [*(Image.eval(c, lambda v: 255 - v) for c in ink.split()), Image.new("L", (64, 48), 0)]
    )
    data = bytearray(saved(stored, "JPEG", quality=95))
    data[data.index(b"Adobe") + 11] = 2  # the transform in the Adobe marker: YCCK
    assert_corners(decode(bytes(data), max_pixels=PIXELS), [RED, GREEN, BLUE, YELLOW], tolerance=6)


def test_lab_tiff_is_converted(saved: Saved) -> None:
    neutral = Image.merge("LAB", [Image.new("L", (8, 8), value) for value in (255, 128, 128)])
    assert (decode(saved(neutral, "TIFF"), max_pixels=PIXELS) >= 254).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
def test_an_embedded_rgb_profile_is_applied(kind: str, saved: Saved, quadrants: Image.Image) -> None:
    own = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    own = own.replace("sRGB".encode("utf-16-be"), "test".encode("utf-16-be"))
    red, green = own.index(b"rXYZ"), own.index(b"gXYZ")
    own[red : red + 4], own[green : green + 4] = b"gXYZ", b"rXYZ"  # what it calls red is green
    data = saved(quadrants, kind, icc_profile=bytes(own), quality=95)
    assert_corners(decode(data, max_pixels=PIXELS)[:20], [GREEN, RED, GREEN, RED], tolerance=20)


def test_a_profile_is_applied_under_transparency(saved: Saved) -> None:
    linear = profile(b"GRAY", b"XYZ ", b"mntr", {b"kTRC": b"curv" + bytes(8)})
    picture = Image.merge("LA", [Image.new("L", (8, 8), 128), Image.new("L", (8, 8), 255)])
    picture.putpixel((0, 0), (128, 0))
    pixels = decode(saved(picture, "PNG", icc_profile=linear), max_pixels=PIXELS)
    assert pixels[0, 0].tolist() == [255, 255, 255]
    np.testing.assert_allclose(pixels[4, 4].astype(int), 188, atol=2)  # linear 0.5 in sRGB (IEC 61966-2-1)


def test_an_embedded_cmyk_profile_is_applied(saved: Saved) -> None:
    nodes = bytearray(b"\x80\x80\x80" * 16)
    nodes[0:3] = (255, 128, 128)  # bare paper: white
    nodes[8 * 3 : 9 * 3] = (138, 208, 195)  # full cyan: a red in Lab, which no formula would give
    ramp = bytes(range(256))
    table = b"mft1\0\0\0\0\x04\x03\x02\0" + struct.pack(">9i", *(0x10000 if i % 4 == 0 else 0 for i in range(9)))
    press = profile(b"CMYK", b"Lab ", b"prtr", {b"A2B0": table + ramp * 4 + bytes(nodes) + ramp * 3})
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    for kind in ("JPEG", "TIFF"):
        red, green, _ = decode(saved(cyan, kind, icc_profile=press), max_pixels=PIXELS)[8, 8].astype(int)
        assert red > 200
        assert green < 60


@pytest.mark.parametrize("icc", [b"", b"not a profile", bytes(200), profile(b"CMYK", b"Lab ", b"prtr", {})])
def test_a_broken_or_unfitting_profile_is_ignored(icc: bytes, saved: Saved, quadrants: Image.Image) -> None:
    data = saved(quadrants, "PNG", icc_profile=icc)
    assert_corners(decode(data, max_pixels=PIXELS), [RED, GREEN, BLUE, YELLOW])


@pytest.mark.parametrize(
    ("needed", "expected"),
    [(640, (640, 427)), (321, (640, 427)), (320, (320, 214)), (161, (320, 214)), (160, (160, 107)), (1, (80, 54))],
)
def test_a_jpeg_is_decoded_at_the_smallest_scale_that_suffices(
    needed: int, expected: tuple[int, int], saved: Saved, quadrants: Image.Image
) -> None:
    data = saved(quadrants.resize((427, 640), Image.Resampling.NEAREST), "JPEG")
    pixels = decode(data, max_pixels=PIXELS, needed_side=needed)
    assert pixels.shape[:2] == expected
    assert_corners(pixels, [RED, GREEN, BLUE, YELLOW], tolerance=6)


def test_a_needed_side_changes_nothing_but_jpeg(files: dict[str, bytes]) -> None:
    assert decode(files["PNG"], max_pixels=PIXELS, needed_side=8).shape == (48, 64, 3)
