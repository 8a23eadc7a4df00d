"""A small network of as many ReLUs and channels as the face quality model takes of dlib's, made from a seed."""

from __future__ import annotations

from functools import cache

import numpy as np

from app.catalogue.dlib_file import Affine, Convolution, Layer, Linear, Network, Pooling, Relu

SIDE = 150
CHANNELS = (32,) * 7 + (64,) * 8 + (128,) * 6
"""Of the convolution before each ReLU."""


@cache
def small_dlib_resnet() -> Network:
    """21 convolutions, the first of them coarse, each with a ReLU; then one more and the descriptor's product."""
    random = np.random.default_rng(8)
    layers: list[Layer] = []
    before = 3
    for number, channels in enumerate((*CHANNELS, 16)):
        side = 15 if number == 0 else 1
        # The whole field of the first layer counts, so its sums stay small.
        kernel = random.normal(0, 1.6 / (side * np.sqrt(before)), (channels, before, side, side))
        layers += [
            Convolution(kernel.astype(np.float32), random.normal(0, 0.1, channels).astype(np.float32), side, 0),
            Affine(np.ones(channels, np.float32), np.zeros(channels, np.float32)),
            Relu(),
        ]
        before = channels
    layers += [Pooling("avg", 0, 1), Linear(random.normal(0, 0.25, (16, 128)).astype(np.float32))]
    return Network((120.0, 117.0, 104.0), (SIDE, SIDE), tuple(layers))
