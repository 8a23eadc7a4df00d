"""The altered copies by which a descriptor is judged, and the pictures among which it has to find the original."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from app.training.alterations import BLACK, WHITE, Random, compressed, framed, scaled

Variant = Callable[[Image.Image, Image.Image, Random], Image.Image]
"""Of a photo; another photo, for variants that show both; and a source of places and colours."""


def _plain(change: Callable[[Image.Image], Image.Image]) -> Variant:
    """A variant that needs the photo alone."""
    return lambda photo, _other, _random: change(photo)


def _flipped(way: Image.Transpose) -> Variant:
    return _plain(lambda photo: photo.transpose(way))


def _cropped(photo: Image.Image, *, share: float) -> Image.Image:
    """Cuts this share off at each of the four sides."""
    across, down = round(photo.width * share), round(photo.height * share)
    return photo.crop((across, down, photo.width - across, photo.height - down))


def _off_centre(photo: Image.Image, _: Image.Image, random: Random, *, share: float) -> Image.Image:
    """Keeps this share of both sides, in one of the corners."""
    width, height = round(photo.width * share), round(photo.height * share)
    left, top = (photo.width - width) * int(random.integers(2)), (photo.height - height) * int(random.integers(2))
    return photo.crop((left, top, left + width, top + height))


def _relit(photo: Image.Image, *, factor: float = 1.0, gamma: float = 1.0) -> Image.Image:
    levels = np.clip(np.arange(256) / 255 * factor, 0, 1) ** gamma * 255
    return photo.point(np.round(levels).astype(np.uint8).tolist() * 3)


def _blurred(photo: Image.Image) -> Image.Image:
    return photo.filter(ImageFilter.GaussianBlur(max(photo.size) * 0.008))


def _patched(photo: Image.Image, _: Image.Image, random: Random) -> Image.Image:
    """A rectangle of one colour over 10 % of the photo."""
    image = photo.copy()
    width, height = photo.width * np.sqrt(0.1), photo.height * np.sqrt(0.1)
    left, top = random.uniform(0, photo.width - width), random.uniform(0, photo.height - height)
    colour = tuple(int(value) for value in random.integers(0, 256, 3))
    ImageDraw.Draw(image).rectangle((left, top, left + width, top + height), fill=colour)
    return image


def _captioned(photo: Image.Image) -> Image.Image:
    """A band with a line of text, as broadcasters and meme makers lay it over a picture."""
    image = photo.copy()
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, photo.height * 0.82, photo.width, photo.height), fill=BLACK)
    font = ImageFont.load_default(photo.height * 0.11)
    pen.text((photo.width * 0.05, photo.height * 0.84), "Seen on Tuesday", fill=WHITE, font=font)
    return image


def _collage(photo: Image.Image, other: Image.Image, _: Random) -> Image.Image:
    """The photo and another one side by side, of one height."""
    beside = other.resize((max(1, round(other.width * photo.height / other.height)), photo.height))
    both = Image.new("RGB", (photo.width + beside.width, photo.height))
    both.paste(photo, (0, 0))
    both.paste(beside, (photo.width, 0))
    return both


def _screenshot(photo: Image.Image) -> Image.Image:
    """The photo on a page of text: a bar above, lines below and beside."""
    page = Image.new("RGB", (round(photo.width * 1.6), round(photo.height * 1.6)), WHITE)
    pen = ImageDraw.Draw(page)
    pen.rectangle((0, 0, page.width, page.height * 0.09), fill=(48, 84, 150))
    font = ImageFont.load_default(page.height * 0.03)
    for line in range(22):
        place = (page.width * 0.04, page.height * (0.12 + 0.04 * line))
        pen.text(place, "Words of an article, one line below the other. " * 3, fill=(40, 40, 40), font=font)
    page.paste(photo, (round(page.width * 0.3), round(page.height * 0.14)))
    return page


VARIANTS: Final[Mapping[str, Variant]] = MappingProxyType(
    {
        "resized to 50 %": _plain(partial(scaled, width=0.5)),
        "resized to 25 %": _plain(partial(scaled, width=0.25)),
        "stretched by 1.3": _plain(partial(scaled, width=1.3, height=1.0)),
        "JPEG quality 30": _plain(partial(compressed, quality=30)),
        "JPEG quality 10": _plain(partial(compressed, quality=10)),
        "brightness 0.6": _plain(partial(_relit, factor=0.6)),
        "brightness 1.4": _plain(partial(_relit, factor=1.4)),
        "gamma 0.6": _plain(partial(_relit, gamma=0.6)),
        "gamma 1.7": _plain(partial(_relit, gamma=1.7)),
        "blurred": _plain(_blurred),
        "grey": _plain(lambda photo: photo.convert("L").convert("RGB")),
        "mirrored": _flipped(Image.Transpose.FLIP_LEFT_RIGHT),
        "upside down, mirrored": _flipped(Image.Transpose.FLIP_TOP_BOTTOM),
        "turned by 90°": _flipped(Image.Transpose.ROTATE_90),
        "turned by 180°": _flipped(Image.Transpose.ROTATE_180),
        "turned by 270°": _flipped(Image.Transpose.ROTATE_270),
        "tilted by 5°": _plain(lambda photo: photo.rotate(5, Image.Resampling.BILINEAR)),
        "tilted by 10°": _plain(lambda photo: photo.rotate(10, Image.Resampling.BILINEAR)),
        "cropped by 10 % a side": _plain(partial(_cropped, share=0.1)),
        "cropped by 20 % a side": _plain(partial(_cropped, share=0.2)),
        "cropped by 30 % a side": _plain(partial(_cropped, share=0.3)),
        "corner of 75 %": partial(_off_centre, share=0.75),
        "corner of 60 %": partial(_off_centre, share=0.6),
        "white border of 10 %": _plain(partial(framed, share=0.1, colour=WHITE)),
        "black border of 10 %": _plain(partial(framed, share=0.1, colour=BLACK)),
        "patch over 10 %": _patched,
        "caption over 18 %": _plain(_captioned),
        "collage of two": _collage,
        "screenshot": _plain(_screenshot),
    }
)


def drawing(random: Random) -> Image.Image:
    """A drawn picture: a plain or shaded ground and some shapes."""
    corners = random.integers(0, 256, (2, 2, 3), dtype=np.uint8)
    if random.random() < 0.5:
        corners[:] = corners[0, 0]
    image = Image.fromarray(corners).resize((320, 240), Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(image)
    for _ in range(int(random.integers(4, 24))):
        x, y = random.uniform(0, 320), random.uniform(0, 240)
        width, height = random.uniform(4, 170, 2)
        colour = tuple(int(value) for value in random.integers(0, 256, 3))
        shape = (pen.ellipse, pen.rectangle)[int(random.integers(2))]
        shape((x - width / 2, y - height / 2, x + width / 2, y + height / 2), fill=colour)
    return image
