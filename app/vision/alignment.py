"""Cuts a face out of an image so that its landmarks lie where an embedding model expects them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# A chip that is smaller than its source by more than this factor is shrunk by whole blocks of pixels first:
# bilinear sampling alone would skip pixels.
_REDUCE_FROM = 2.0
# Pixels of the source that bilinear sampling may touch beyond the chip's outline.
_MARGIN = 2


def similarity_transform(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation, uniform scale and shift that bring ``source`` closest to ``target``.

    Least squares without reflection: Umeyama, "Least-squares estimation of transformation parameters between two
    point patterns", IEEE PAMI 13(4), 1991.

    Args:
        source: [n, 2] points.
        target: [n, 2] points.

    Returns:
        [2, 3]: ``target ≈ source @ result[:, :2].T + result[:, 2]``.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    centred_source, centred_target = source - source_mean, target - target_mean
    covariance = centred_target.T @ centred_source / len(source)
    left, singular, right = np.linalg.svd(covariance)
    sign = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    rotation = left @ np.diag(sign) @ right
    variance = centred_source.var(axis=0).sum()
    scale = (singular * sign).sum() / variance if variance > 0 else 1.0
    return np.column_stack([scale * rotation, target_mean - scale * rotation @ source_mean])


def aligned_chip(
    image: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    template: Sequence[tuple[float, float]],
    size: int,
) -> NDArray[np.uint8]:
    """Cuts out a face aligned by its landmarks; what lies outside the image is black.

    Args:
        image: UINT8 RGB [H, W, 3].
        landmarks: FP32 [5, 2] as (x, y), in pixels of the image; pixel i covers i to i + 1.
        template: where these points shall lie in the chip, counted from the centres of its pixels.
        size: side of the chip, in pixels.

    Returns:
        UINT8 RGB [size, size, 3].
    """
    # The template counts from pixel centres, images from pixel edges: half a pixel between them.
    wanted = np.asarray(template, np.float64) + 0.5
    to_image = similarity_transform(wanted, landmarks.astype(np.float64))
    return cut(image, to_image, size)


def cut(image: NDArray[np.uint8], to_image: NDArray[np.float64], size: int) -> NDArray[np.uint8]:
    """Samples a square chip through an affine map; what lies outside the image is black.

    Args:
        image: UINT8 RGB [H, W, 3].
        to_image: [2, 3] map from the chip's coordinates to the image's, both counted from pixel edges.
        size: side of the chip, in pixels.

    Returns:
        UINT8 RGB [size, size, 3].
    """
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float64) @ to_image[:, :2].T + to_image[:, 2]
    left, top = np.maximum(np.floor(corners.min(axis=0)).astype(int) - _MARGIN, 0)
    right, bottom = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + _MARGIN, [width, height])
    if right <= left or bottom <= top:
        return np.zeros((size, size, 3), np.uint8)
    region = Image.fromarray(image[top:bottom, left:right])
    linear, shift = to_image[:, :2], to_image[:, 2] - [left, top]
    scale = float(np.sqrt(abs(np.linalg.det(linear))))  # image pixels per chip pixel
    if scale >= _REDUCE_FROM:
        factor = int(scale + 1e-6)
        region = region.reduce(factor)
        linear, shift = linear / factor, shift / factor
    coefficients = (linear[0, 0], linear[0, 1], shift[0], linear[1, 0], linear[1, 1], shift[1])
    chip = region.transform((size, size), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR)
    return np.asarray(chip)
