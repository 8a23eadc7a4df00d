"""Random copies of a photo, as they turn up again: cropped, turned, framed, drawn on, recoloured, compressed."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Random = np.random.Generator
Step = Callable[[Image.Image, Random], Image.Image]
Colour = tuple[int, int, int]

QUARTERS: Final = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
WHITE: Final[Colour] = (255, 255, 255)
BLACK: Final[Colour] = (0, 0, 0)


def altered(photo: Image.Image, other: Image.Image, random: Random) -> Image.Image:
    """A random copy of a photo.

    Args:
        photo: RGB.
        other: another photo, for copies that show both.
        random: decides everything.
    """
    image = _some(photo, GEOMETRY, random)
    chance = random.random()
    if chance < 0.15:
        image = _on_page(image, random)
    elif chance < 0.25:
        image = _beside(image, other, random)
    return _some(image, TONES, random)


def region(photo: Image.Image, random: Random, *, least: float, most: float) -> Image.Image:
    """A random part of a photo.

    Args:
        photo: RGB.
        random: decides the place and the proportions.
        least: smallest share of each side.
        most: largest share of the width; the height's differs from it by at most a quarter.
    """
    share = random.uniform(least, most)
    return _part(photo, share, float(np.clip(share * random.uniform(0.8, 1.25), least, 1)), random)


def compressed(image: Image.Image, quality: int) -> Image.Image:
    """What JPEG leaves of an image."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def scaled(image: Image.Image, width: float, height: float | None = None) -> Image.Image:
    """Scales the sides by these factors, both by ``width`` where no other is given."""
    factors = (width, width if height is None else height)
    sides = [max(1, round(side * factor)) for side, factor in zip(image.size, factors, strict=True)]
    return image.resize((sides[0], sides[1]), Image.Resampling.BOX if max(factors) < 1 else Image.Resampling.BILINEAR)


def framed(image: Image.Image, share: float, colour: Colour) -> Image.Image:
    """Puts a frame around an image, as wide as this share of its long side."""
    width = round(max(image.size) * share)
    frame = Image.new("RGB", (image.width + 2 * width, image.height + 2 * width), colour)
    frame.paste(image, (width, width))
    return frame


def _some(image: Image.Image, steps: tuple[tuple[float, Step], ...], random: Random) -> Image.Image:
    for probability, step in steps:
        if random.random() < probability:
            image = step(image, random)
    return image


def _part(image: Image.Image, across: float, down: float, random: Random) -> Image.Image:
    width, height = max(1, round(image.width * across)), max(1, round(image.height * down))
    left, top = (int(random.integers(0, most + 1)) for most in (image.width - width, image.height - height))
    return image.crop((left, top, left + width, top + height))


def _colour(random: Random) -> Colour:
    red, green, blue = (int(value) for value in random.integers(0, 256, 3))
    return red, green, blue


def _cropped(image: Image.Image, random: Random) -> Image.Image:
    return region(image, random, least=0.37, most=0.97)


def _tilted(image: Image.Image, random: Random) -> Image.Image:
    fill = _colour(random) if random.random() < 0.5 else BLACK
    return image.rotate(random.uniform(-22, 22), Image.Resampling.BILINEAR, fillcolor=fill)


def _mirrored(image: Image.Image, _: Random) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def _turned(image: Image.Image, random: Random) -> Image.Image:
    return image.transpose(QUARTERS[int(random.integers(len(QUARTERS)))])


def _framed(image: Image.Image, random: Random) -> Image.Image:
    return framed(image, random.uniform(0.03, 0.14), (WHITE, BLACK, _colour(random))[int(random.integers(3))])


def _drawn_on(image: Image.Image, random: Random) -> Image.Image:
    """An ellipse over 3 to 15 % of the image, and up to two lines of text."""
    image = image.copy()
    pen = ImageDraw.Draw(image)
    radius = np.sqrt(random.uniform(0.03, 0.15) / np.pi)
    across, down = image.width * radius * random.uniform(0.7, 1.4), image.height * radius
    x, y = image.width * random.uniform(0.1, 0.9), image.height * random.uniform(0.1, 0.9)
    pen.ellipse((x - across, y - down, x + across, y + down), fill=_colour(random))
    for _ in range(int(random.integers(0, 3))):
        place = (image.width * random.uniform(0, 0.6), image.height * random.uniform(0.05, 0.95))
        font = ImageFont.load_default(max(8, max(image.size) * random.uniform(0.03, 0.1)))
        pen.text(place, "abcXYZ 123"[: int(random.integers(3, 11))], fill=_colour(random), font=font)
    return image


def _on_page(image: Image.Image, random: Random) -> Image.Image:
    """The image within a page of bars and blocks."""
    sides = [round(side * random.uniform(0.8, 1.2)) for side in image.size]
    plain = (WHITE, (30, 30, 30))[int(random.integers(2))]
    page = Image.new("RGB", (sides[0], sides[1]), _colour(random) if random.random() < 0.5 else plain)
    pen = ImageDraw.Draw(page)
    for _ in range(int(random.integers(0, 14))):
        x, y = random.uniform(0, page.width), random.uniform(0, page.height)
        width, height = page.width * random.uniform(0.02, 0.3), page.height * random.uniform(0.01, 0.08)
        pen.rectangle((x, y, x + width, y + height), fill=_colour(random))
    fit = min(page.width / image.width, page.height / image.height)
    small = scaled(image, fit * random.uniform(0.5, 0.85))
    left, top = (int(random.integers(0, most + 1)) for most in (page.width - small.width, page.height - small.height))
    page.paste(small, (left, top))
    return page


def _beside(image: Image.Image, other: Image.Image, random: Random) -> Image.Image:
    """The image and another one, half and half, in either order."""
    across = random.random() < 0.5
    pair = [image, other.resize(image.size, Image.Resampling.BOX)]
    if random.random() < 0.5:
        pair.reverse()
    both = Image.new("RGB", (image.width * 2, image.height) if across else (image.width, image.height * 2))
    both.paste(pair[0], (0, 0))
    both.paste(pair[1], (image.width, 0) if across else (0, image.height))
    return both


def _relit(image: Image.Image, random: Random) -> Image.Image:
    """Brightness by a factor, then gamma."""
    factor, gamma = random.uniform(0.65, 1.4), float(np.exp(random.uniform(-0.6, 0.6)))
    levels = np.clip(np.arange(256) / 255 * factor, 0, 1) ** gamma * 255
    return image.point(np.round(levels).astype(np.uint8).tolist() * 3)


def _recoloured(image: Image.Image, random: Random) -> Image.Image:
    if random.random() < 0.45:
        return image.convert("L").convert("RGB")
    factors = random.uniform(0.85, 1.15, 3)
    return Image.fromarray(np.clip(np.asarray(image) * factors, 0, 255).astype(np.uint8))


def _blurred(image: Image.Image, random: Random) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(max(image.size) * random.uniform(0.002, 0.01)))


def _shrunk(image: Image.Image, random: Random) -> Image.Image:
    return scaled(image, random.uniform(0.25, 0.8))


def _compressed(image: Image.Image, random: Random) -> Image.Image:
    return compressed(image, int(random.integers(10, 60)))


GEOMETRY: Final[tuple[tuple[float, Step], ...]] = (
    (0.65, _cropped),
    (0.3, _tilted),
    (0.35, _mirrored),
    (0.3, _turned),
    (0.15, _framed),
    (0.2, _drawn_on),
)

TONES: Final[tuple[tuple[float, Step], ...]] = (
    (0.5, _relit),
    (0.3, _recoloured),
    (0.25, _blurred),
    (0.3, _shrunk),
    (0.3, _compressed),
)
