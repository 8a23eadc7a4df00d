"""Builds the first image descriptor: a graph made from formulas alone, without trained weights.

A grey image's responses to Gabor filters at three scales, averaged over a 4×4 grid (the "gist" of
Oliva & Torralba 2001, https://doi.org/10.1023/A:1011139631724), beside an 8×8 layout of its lightness
and a 4×4 layout of its colours. Each part is power-normalised (Perronnin et al. 2010,
https://doi.org/10.1007/978-3-642-15561-1_11), scaled to length 1 and weighted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from app.catalogue.graph import GraphWriter
from app.catalogue.roles import EMBEDDING, IMAGE, Tensor

SIDE: Final = 128
"""Side of the input in pixels."""

SCALES: Final = 3
ORIENTATIONS: Final = 8
KERNEL_SIDE: Final = 13
WAVELENGTH: Final = 5.0
"""Of the Gabor filters, in pixels of their scale."""

GRID: Final = 4
LAYOUT: Final = 8
GIST_WEIGHT: Final = 1.0
LAYOUT_WEIGHT: Final = 0.6
COLOUR_WEIGHT: Final = 0.35

DIMENSIONS: Final = SCALES * ORIENTATIONS * GRID**2 + LAYOUT**2 + 2 * GRID**2

# Rows: lightness, blue and red difference (the full-range BT.601 matrix of JFIF, rounded).
LUMA_CHROMA: Final = ((0.299, 0.587, 0.114), (-0.169, -0.331, 0.5), (0.5, -0.419, -0.081))

# Below these a part holds nothing but noise, which must not be blown up to full length. A photo's
# parts are 1 to 10 long before they are scaled.
VARIANCE_FLOOR: Final = 1e-4
RESPONSE_FLOOR: Final = 1e-6
LENGTH_FLOOR: Final = 0.5

LEAN: Final = 1e-3
"""Added to every component, so that a plain grey image has a direction too; cosines of photos change by 3e-4."""

GRAIN: Final = 2.0**-20
"""Filter values are multiples of this: the last digits of exp and cos differ between machines."""


def filters() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The even and the odd Gabor filters, each [8,1,13,13], of unit energy and without a mean."""
    steps = np.arange(KERNEL_SIDE) - (KERNEL_SIDE - 1) / 2
    x, y = np.meshgrid(steps, steps)
    envelope = np.exp(-(x**2 + y**2) / (2 * (WAVELENGTH / 2) ** 2))
    even: list[NDArray[np.float64]] = []
    odd: list[NDArray[np.float64]] = []
    for orientation in range(ORIENTATIONS):
        angle = np.pi * orientation / ORIENTATIONS
        phase = 2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / WAVELENGTH
        wave = envelope * np.cos(phase)
        wave -= envelope * (wave.sum() / envelope.sum())
        energy = np.sqrt((wave**2).sum())
        even.append(wave / energy)
        odd.append(envelope * np.sin(phase) / energy)
    return _grained(even), _grained(odd)


def filters_sha256() -> str:
    """The checksum that stands for this descriptor's weights: of its filters' bytes, little-endian."""
    return hashlib.sha256(b"".join(kernels.astype("<f4").tobytes() for kernels in filters())).hexdigest()


def _grained(kernels: list[NDArray[np.float64]]) -> NDArray[np.float32]:
    rounded = np.round(np.stack(kernels)[:, None] / GRAIN) * GRAIN
    return (rounded + 0.0).astype(np.float32)  # + 0.0: no negative zeros


def build_image_embedder(
    inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, about: dict[str, str]
) -> onnx.ModelProto:
    """Makes the descriptor's graph.

    Args:
        inputs: ``IMAGE`` UINT8 [N,128,128,3], RGB, squashed to the square by area interpolation.
        outputs: ``EMBEDDING`` FP32 [N,480] of length 1.
        about: facts for the model's metadata.
    """
    graph = GraphWriter("gabor")
    pixels = graph.node("Mul", graph.pixels(IMAGE), graph.floats(1 / 255))
    planes = graph.node("Conv", pixels, graph.floats(np.asarray(LUMA_CHROMA)[:, :, None, None]))
    lightness = _standardised(graph, graph.slice(planes, 0, 1, axis=1))
    colours = graph.slice(planes, 1, 3, axis=1)

    gist = _gist(graph, lightness)
    gist = graph.node("Sub", gist, graph.node("ReduceMean", gist, axes=[1], keepdims=1))
    parts = (
        _unit(graph, _root(graph, gist), GIST_WEIGHT),
        _unit(graph, _averaged(graph, lightness, SIDE // LAYOUT), LAYOUT_WEIGHT),
        _unit(graph, _root(graph, _averaged(graph, colours, SIDE // GRID)), COLOUR_WEIGHT),
    )
    whole = graph.node("Add", graph.node("Concat", *parts, axis=1), graph.floats(LEAN))
    graph.node("Div", whole, graph.node("ReduceL2", whole, axes=[1], keepdims=1), output=EMBEDDING)
    return graph.model(inputs, outputs, about=about)


def _standardised(graph: GraphWriter, plane: str) -> str:
    """Takes away the mean of each image and divides by its standard deviation.

    The mean is taken away twice: the first one, a float32 sum of 16,384 pixels, is off by enough to
    show as a pattern in an image without any contrast.
    """
    centred = plane
    for _ in range(2):
        centred = graph.node("Sub", centred, graph.node("ReduceMean", centred, axes=[1, 2, 3], keepdims=1))
    squares = graph.node("Mul", centred, centred)
    variance = graph.node("ReduceMean", squares, axes=[1, 2, 3], keepdims=1)
    deviation = graph.node("Sqrt", graph.node("Add", variance, graph.floats(VARIANCE_FLOOR)))
    return graph.node("Div", centred, deviation)


def _gist(graph: GraphWriter, plane: str) -> str:
    """Local Gabor amplitudes at three scales, averaged over a 4×4 grid: [N,384]."""
    even, odd = (graph.floats(kernels) for kernels in filters())
    pads = [KERNEL_SIDE // 2] * 4
    parts: list[str] = []
    for scale in range(SCALES):
        waves = [graph.node("Conv", plane, kernels, pads=pads) for kernels in (even, odd)]
        energy = graph.node("Add", *(graph.node("Mul", wave, wave) for wave in waves))
        amplitude = graph.node("Sqrt", graph.node("Add", energy, graph.floats(RESPONSE_FLOOR)))
        parts.append(_averaged(graph, amplitude, (SIDE >> scale) // GRID))
        plane = graph.node("AveragePool", plane, kernel_shape=[2, 2], strides=[2, 2])
    return graph.node("Concat", *parts, axis=1)


def _averaged(graph: GraphWriter, plane: str, cell: int) -> str:
    """Means over square cells of so many pixels, flattened to [N,channels·cells]."""
    return graph.node("Flatten", graph.node("AveragePool", plane, kernel_shape=[cell] * 2, strides=[cell] * 2))


def _root(graph: GraphWriter, values: str) -> str:
    """The signed square root, which keeps a few strong responses from outweighing the rest."""
    return graph.node("Mul", graph.node("Sign", values), graph.node("Sqrt", graph.node("Abs", values)))


def _unit(graph: GraphWriter, values: str, weight: float) -> str:
    """Scales to length ``weight``; what is nearly zero stays so."""
    length = graph.node("ReduceL2", values, axes=[1], keepdims=1)
    scaled = graph.node("Div", values, graph.node("Max", length, graph.floats(LENGTH_FLOOR)))
    return graph.node("Mul", scaled, graph.floats(weight))
