"""Covers a portrait's face: masks, dark glasses, objects, other pictures, hands; and what covers none of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np
from PIL import Image, ImageFilter

from app.training.alterations import Random
from app.training.paint import Pen, Points, cloth, laid_on, lit, shape
from app.training.portrait import CHIP_SIDE, SIDE, Portrait

CHIP_EDGES: Final = ((SIDE - CHIP_SIDE) // 2, (SIDE + CHIP_SIDE) // 2)
"""Where the chip begins and ends in a portrait, in pixels."""

# Outlines in a portrait's pixels; y of the mask's upper edge is counted from the nose tip.
MASK_EDGE: Final = ((92, 9), (149, -5), (207, 9))
MASK_CHIN: Final = ((201, 186), (176, 207), (149, 214), (123, 207), (98, 186))

# Of each finger, from one side to the other: its length, and where its root lies.
FINGERS: Final = ((50, -24), (60, -8), (57, 8), (44, 24))
SHADOW: Final = (30, 15, 10)


def masked(portrait: Portrait, random: Random) -> Portrait:
    """A mask from the nose to the chin, of plain or striped cloth."""
    top = portrait.landmarks[2, 1] + random.uniform(-16, 1)
    edge = np.asarray(MASK_EDGE) + np.array([0, top])
    points = np.concatenate([edge, MASK_CHIN]) + random.normal(0, 3, (8, 2))
    return laid_on(portrait, cloth(random), shape(lambda pen: pen.polygon(points)))


def in_dark_glasses(portrait: Portrait, random: Random) -> Portrait:
    """Sunglasses: two dark lenses, a bridge and temples."""
    eyes = _eyes(portrait, random)
    half = np.array([random.uniform(18, 25), random.uniform(12, 19)])
    radius, bridge = half[1] * random.uniform(0.2, 1), random.uniform(2.5, 5)

    def draw(pen: Pen) -> None:
        for eye, outwards in zip(eyes, (-1, 1), strict=True):
            pen.lens(np.stack([eye - half, eye + half]), radius=radius)
            hinge = eye + np.array([outwards * half[0], -4])
            pen.line(np.stack([hinge, hinge + np.array([outwards * 22, -3])]), 4)
        pen.line(eyes - [0, half[1] / 3], bridge)

    return laid_on(portrait, cloth(random, brightest=60), shape(draw))


def behind_an_object(portrait: Portrait, random: Random) -> Portrait:
    """A plain or striped thing over part of the face."""
    return laid_on(portrait, cloth(random), shape(_thing(random)))


def behind_a_picture(portrait: Portrait, other: Portrait, random: Random) -> Portrait:
    """A part of another picture over part of the face."""
    rotated = np.rot90(other.pixels, int(random.integers(4)))
    rolled = np.roll(rotated, random.integers(0, SIDE, 2), axis=(0, 1))
    return laid_on(portrait, Image.fromarray(np.ascontiguousarray(rolled)), shape(_thing(random)))


def behind_a_hand(portrait: Portrait, random: Random) -> Portrait:
    """A hand of the face's own colour: a palm and four fingers that reach over the face from below or from a side."""
    cheeks = portrait.pixels[140:165, [*range(105, 125), *range(175, 195)]].reshape(-1, 3)
    skin = np.median(cheeks, axis=0) * random.uniform(0.75, 1.15)
    angle = random.uniform(-1.9, 1.9)  # 0 is from below
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    place = np.array([149, 150]) + random.uniform(-22, 22, 2)
    spread, size = random.uniform(0.04, 0.16), random.uniform(0.9, 1.25)
    limbs = [(np.array([[0.0, 38.0], [0.0, 85.0]]), 62.0)]
    for number in (0, 3, 1, 2):
        length, across = FINGERS[number]
        root = np.array([across, 34.0])
        lean = (number - 1.5) * spread
        along = np.array([np.sin(lean), -np.cos(lean)]) * length * random.uniform(0.85, 1.05)
        limbs.append((np.stack([root, root + along]), 15.0))
    for path, width in limbs:
        points = path * size @ turn.T + place
        below = shape(partial(Pen.limb, points=points + 2, width=width * size), opacity=0.45)
        portrait = laid_on(portrait, Image.new("RGB", (SIDE, SIDE), SHADOW), below.filter(ImageFilter.GaussianBlur(3)))
        fill = lit(skin * random.uniform(0.93, 1.05), random, unevenness=0.05)
        portrait = laid_on(portrait, fill, shape(partial(Pen.limb, points=points, width=width * size)))
    return portrait


def beside_an_object(portrait: Portrait, random: Random) -> Portrait:
    """One or two things that reach into the chip beside, above or below the face and cover none of it."""
    first, last = CHIP_EDGES
    for _ in range(int(random.integers(1, 3))):
        along, length, reach = random.uniform(first - 10, last - 30), random.uniform(25, 60), random.uniform(8, 18)
        edges = ((first - 40, first + reach), (last - reach, last + 40))[int(random.integers(2))]
        corners = np.array([[edges[0], along], [edges[1], along + length]])
        if random.random() < 0.4:  # above the brows, below the chin
            corners = corners[:, ::-1]
        draw = (Pen.rectangle, Pen.ellipse)[int(random.integers(2))]
        portrait = laid_on(portrait, cloth(random), shape(partial(draw, corners=corners)))
    return portrait


def in_glasses(portrait: Portrait, random: Random) -> Portrait:
    """Spectacles whose thin frame hides nothing."""
    eyes = _eyes(portrait, random)
    half = np.array([random.uniform(17, 23), random.uniform(11, 18)])
    radius, thickness = half[1] * random.uniform(0.2, 1), random.uniform(1, 3)

    def draw(pen: Pen) -> None:
        for eye in eyes:
            pen.lens(np.stack([eye - half, eye + half]), radius=radius, outline=thickness)
        pen.line(np.stack([eyes[0] + [half[0], -3], eyes[1] - [half[0], 3]]), thickness)

    return laid_on(portrait, cloth(random, brightest=110), shape(draw))


def _eyes(portrait: Portrait, random: Random) -> Points:
    """Where the lenses of glasses are, FP64 [2,2]."""
    return np.asarray(portrait.landmarks[:2] + random.normal(0, 1.2, (2, 2)) + [0, random.uniform(0, 3)])


def _thing(random: Random) -> Callable[[Pen], None]:
    """A rectangle, an ellipse or a ragged shape somewhere on the face."""
    centre = np.array([149.0, 148.0]) + random.uniform(-34, 34, 2)
    half = random.uniform(26, 46, 2)
    kind = int(random.integers(3))
    if kind == 2:
        angles = np.sort(random.uniform(0, 2 * np.pi, 9))
        edge = half * random.uniform(0.8, 1.4, (9, 1)) * np.stack([np.cos(angles), np.sin(angles)], 1)
        return partial(Pen.polygon, points=centre + edge)
    return partial((Pen.rectangle, Pen.ellipse)[kind], corners=np.stack([centre - half, centre + half]))
