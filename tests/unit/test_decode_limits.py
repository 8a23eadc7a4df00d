"""Decoding: what is no picture, is too large or is damaged ends in one clear error."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from app.errors import TooLarge, UndecodableImage
from app.vision.decode import decode, read_header

Saved = Callable[..., bytes]

KINDS = ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF", "HEIC"]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rows = chunk(b"IDAT", zlib.compress(bytes(64)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + rows + chunk(b"IEND", b"")


def tiff(*tags: tuple[int, int, int, int], tail: bytes = b"") -> bytes:
    """A little-endian TIFF of one page, from (tag, type, count, value or offset)."""
    entries = b"".join(struct.pack("<HHLL", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<LH", 8, len(tags)) + entries + bytes(4) + tail


def test_a_huge_picture_is_refused_by_its_header() -> None:
    data = png(50_000, 50_000)
    with pytest.raises(TooLarge) as caught:
        decode(data, max_pixels=64_000_000)
    assert caught.value.message == (
        "The image is 50000×50000 pixels; at most 64000000 pixels are accepted. Send a smaller one."
    )
    assert read_header(data).width == 50_000


@pytest.mark.parametrize("kind", KINDS)
def test_the_limit_of_pixels_is_kept_to_the_pixel(kind: str, files: dict[str, bytes]) -> None:
    assert decode(files[kind], max_pixels=64 * 48).size == 64 * 48 * 3
    with pytest.raises(TooLarge):
        decode(files[kind], max_pixels=64 * 48 - 1)


def test_a_webp_that_claims_a_huge_canvas_is_refused_before_it_is_opened() -> None:
    claims = struct.pack("<I", 0x1000) + bytes(4) + (16382).to_bytes(3, "little") * 2
    data = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + claims[4:]
    with pytest.raises(TooLarge, match="16383×16383"):
        decode(data, max_pixels=1_000_000)


def test_a_tiff_tile_may_not_be_larger_than_a_picture() -> None:
    data = tiff(
        (256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (259, 3, 1, 5), (262, 3, 1, 1), (322, 4, 1, 60_000),
        (323, 4, 1, 60_000), (324, 4, 1, 8), (325, 4, 1, 8),
    )  # fmt: skip
    with pytest.raises(TooLarge, match="tiles of 60000×60000"):
        decode(data, max_pixels=1_000_000)


@pytest.mark.parametrize(
    "data",
    [
        b"hello, world",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7\n",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"8BPS\0\x01" + bytes(40),
        b"\0\0\x01\0\x01\0\x10\x10" + bytes(40),
        b"/* XPM */\n",
        b"P6 1 1 255\n\0\0\0",
        b"\0\0\0\x18ftypisom\0\0\0\0isommp42" + bytes(40),
        b"RIFF\x24\0\0\0WAVEfmt " + bytes(40),
    ],
)
def test_other_formats_are_refused_by_name_of_the_accepted_ones(data: bytes) -> None:
    for call in (read_header, lambda data: decode(data, max_pixels=1000)):
        with pytest.raises(UndecodableImage) as caught:
            call(data)
        assert caught.value.message == "The bytes are no JPEG, PNG, WebP, GIF, BMP, TIFF, AVIF or HEIC image."


def test_no_bytes_are_called_empty() -> None:
    with pytest.raises(UndecodableImage, match="empty"):
        read_header(b"")


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_refused_with_a_sentence(kind: str, files: dict[str, bytes]) -> None:
    data = files[kind]
    for share in (0.3, 0.6, 0.8):
        with pytest.raises(UndecodableImage, match="truncated or damaged"):
            decode(data[: int(len(data) * share)], max_pixels=100_000)


@pytest.mark.parametrize(
    "data",
    [
        b"\xff\xd8\xff" + bytes(200_000),
        b"\xff\xd8" + b"\xff\xe1\x00\x02" * 5_000,
        b"\xff\xd8" + b"\xff" * 200_000,
        b"\xff\xd8" + b"\xff\x00" * 10_000,
        b"GIF89a\x08\0\x08\0\0\0\0" + b"!\xfe\x01a\0" * 10_000,
        png(8, 8, *[chunk(b"teSt", b"")] * 70_000),
        png(8, 8, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(20_000_000)))),
        png(8, 8, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(20_000_000)))),
        tiff(*[(700, 1, 1, 0)] * 2_000),
        tiff(*[(700, 1, 4_000_000_000, 8)] * 4),
        tiff((273, 4, 2_000_000, 8), tail=bytes(9_000_000)),
        tiff((256, 3, 1, 8), (257, 3, 1, 8), (258, 3, 1, 8), (262, 3, 1, 1), (277, 4, 1, 4_000_000_000)),
    ],
    ids=[
        "jpeg-zeros", "jpeg-segments", "jpeg-padding", "jpeg-stuffing", "gif-comments", "png-chunks", "png-text",
        "png-profile", "tiff-tags", "tiff-sizes", "tiff-strips", "tiff-samples",
    ],
)  # fmt: skip
def test_a_file_made_to_keep_the_reader_busy_is_refused(data: bytes) -> None:
    with pytest.raises(UndecodableImage):
        decode(data, max_pixels=100_000)


def test_an_item_type_of_heic_that_is_no_text_does_no_harm(heic: bytes) -> None:
    assert heic.count(b"Exif\0") == 2
    assert decode(heic.replace(b"Exif\0", b"\xffxif\0", 1), max_pixels=100_000).shape == (64, 48, 3)


@pytest.mark.parametrize("claim", [(8, 8), (64, 63), (255, 64), (64, 128)])
def test_a_heic_whose_picture_has_another_size_than_it_claims_is_refused(claim: tuple[int, int], heic: bytes) -> None:
    # Without the crop to 64×48 the claim is what the header's size is made of.
    data = heic.replace(b"clap", b"free")
    at = data.index(b"ispe") + 8
    assert struct.unpack_from(">II", data, at) == (64, 64)
    with pytest.raises(UndecodableImage):
        decode(data[:at] + struct.pack(">II", *claim) + data[at + 8 :], max_pixels=100_000)


def test_odd_metadata_raises_no_warning_and_hides_no_picture(saved: Saved, quadrants: Image.Image) -> None:
    data = saved(quadrants, "TIFF", tiffinfo={305: "x" * 40})
    software = struct.pack("<HHL", 305, 2, 41)
    assert software in data
    odd = data.replace(software, struct.pack("<HHL", 305, 2, 5_000))  # Pillow warns that the tag's text is cut
    assert decode(odd, max_pixels=100_000).shape == (48, 64, 3)


def damaged(data: bytes, dice: random.Random) -> bytes:
    """The file cut, with bytes removed, put in or changed: mostly near its start, where the structure is."""
    changed = bytearray(data)
    match dice.randrange(5):
        case 0:
            del changed[dice.randrange(len(changed)) :]
        case 1:
            at = dice.randrange(len(changed))
            del changed[at : at + dice.randrange(1, 40)]
        case 2:
            at = dice.randrange(len(changed))
            changed[at:at] = dice.randbytes(dice.randrange(1, 20))
        case _:
            for _ in range(dice.choice((1, 2, 8))):
                at = dice.randrange(dice.choice((len(changed), min(len(changed), 200))))
                changed[at] = dice.choice((0, 127, 128, 255, changed[at] ^ 1 << dice.randrange(8)))
    return bytes(changed)


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_bytes_end_in_a_picture_or_in_one_of_two_errors(kind: str, files: dict[str, bytes]) -> None:
    dice = random.Random(f"damage {kind}")
    refused = 0
    for _ in range(150):
        data = damaged(files[kind], dice)
        try:
            pixels = decode(data, max_pixels=10_000, needed_side=dice.choice((None, 16)))
        except (UndecodableImage, TooLarge):
            refused += 1
        else:
            assert pixels.dtype == np.uint8
            assert pixels.shape[2] == 3
            assert pixels.size <= 30_000
        try:
            read_header(data)
        except (UndecodableImage, TooLarge):
            refused += 1
    assert refused > 20


def test_pictures_decode_side_by_side_in_threads(files: dict[str, bytes]) -> None:
    jobs = [data for data in files.values() for _ in range(12)]
    alone = [decode(data, max_pixels=100_000) for data in jobs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda data: decode(data, max_pixels=100_000), jobs))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_png_that_only_claims_a_size_is_told_that_it_claims_too_much() -> None:
    header = b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4, "big") + b"IHDR" + (50_000).to_bytes(4, "big") * 2
    with pytest.raises(TooLarge, match="50000×50000 pixels"):
        read_header(header + b"\x08\x02\x00\x00\x00" + bytes(4), max_pixels=64_000_000)
    with pytest.raises(UndecodableImage):
        read_header(header[:20], max_pixels=64_000_000)
