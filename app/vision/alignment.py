"""Cuts a face out of an image so that its landmarks lie where an embedding model expects them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.vision.homography import Matrix, homogeneous, inverse, mapped, scaling

# A chip that is smaller than its source by more than this factor is shrunk by whole blocks of pixels first:
# bilinear sampling alone would skip pixels.
_REDUCE_FROM = 2.0
# Pixels of the source that bilinear sampling may touch beyond the chip's outline.
_MARGIN = 2
# Pixels that are copied at a time: 4 MB.
_ROWS_OF_PIXELS = 1_000_000
# Beyond it a chip would show what lies near the horizon of its perspective: a smear.
_LEAST_DEPTH = 0.05


def similarity_transform(source: NDArray[np.float64], target: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rotation, uniform scale and shift that bring ``source`` closest to ``target``.

    Least squares without reflection, as in Umeyama, "Least-squares estimation of transformation parameters between two
    point patterns", IEEE PAMI 13(4), 1991. In the plane it needs no singular values: with points as complex numbers
    around their means, rotation and scale are the one factor a = Σ s̄ᵢ tᵢ / Σ |sᵢ|² (Dryden and Mardia, *Statistical
    Shape Analysis*, on planar Procrustes analysis).

    Args:
        source: [n, 2] points.
        target: [n, 2] points.

    Returns:
        [2, 3]: ``target ≈ source @ result[:, :2].T + result[:, 2]``. Points that all coincide are only shifted.
    """
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    from_x, from_y = (source - source_mean).T
    to_x, to_y = (target - target_mean).T
    spread = from_x @ from_x + from_y @ from_y
    cos, sin = 1.0, 0.0
    if spread > 0:
        cos = (from_x @ to_x + from_y @ to_y) / spread
        sin = (from_x @ to_y - from_y @ to_x) / spread
    rotation = np.array([[cos, -sin], [sin, cos]])
    return np.column_stack([rotation, target_mean - rotation @ source_mean])


def aligned_chip(
    image: NDArray[np.uint8],
    landmarks: NDArray[np.float32],
    template: Sequence[tuple[float, float]],
    size: int,
    *,
    frame: Matrix | None = None,
    scale: tuple[float, float] = (1.0, 1.0),
) -> NDArray[np.uint8]:
    """Cuts out a face aligned by its landmarks; what lies outside the image is black.

    Args:
        image: UINT8 RGB [H, W, 3].
        landmarks: FP32 [5, 2] as (x, y), in pixels of the image; pixel i covers i to i + 1.
        template: where these points shall lie in the chip, counted from the centres of its pixels.
        size: side of the chip, in pixels.
        frame: [3, 3], the map from a plane in which the face is not distorted to the image; None: the image itself.
        scale: what ``image`` has of each pixel that the landmarks count, horizontally and vertically.

    Returns:
        UINT8 RGB [size, size, 3].
    """
    # The template counts from pixel centres, images from pixel edges: half a pixel between them.
    wanted, to_pixels = np.asarray(template, np.float64) + 0.5, np.diag([*scale, 1.0])
    if frame is None:
        return cut(image, to_pixels @ homogeneous(similarity_transform(wanted, landmarks.astype(np.float64))), size)
    to_frame = similarity_transform(wanted, mapped(landmarks, inverse(frame)))
    return cut(image, to_pixels @ frame @ homogeneous(to_frame), size)


def cut(image: NDArray[np.uint8], to_image: Matrix, size: int) -> NDArray[np.uint8]:
    """Samples a square chip through a map of the plane; what lies outside the image is black.

    Args:
        image: UINT8 RGB [H, W, 3].
        to_image: [3, 3] map from the chip's coordinates to the image's, both counted from pixel edges. A chip that
            reaches to its horizon comes back black.
        size: side of the chip, in pixels.

    Returns:
        UINT8 RGB [size, size, 3].
    """
    height, width = image.shape[:2]
    outline = np.array([[0, 0], [size, 0], [size, size], [0, size]], np.float64)
    depths = outline @ to_image[2, :2] + to_image[2, 2]
    if depths.min() < _LEAST_DEPTH * depths.max():
        return np.zeros((size, size, 3), np.uint8)
    corners = mapped(outline, to_image)
    left, top = np.clip(np.floor(corners.min(axis=0)).astype(int) - _MARGIN, 0, [width, height])
    right, bottom = np.clip(np.ceil(corners.max(axis=0)).astype(int) + _MARGIN, 0, [width, height])
    if right <= left or bottom <= top:
        return np.zeros((size, size, 3), np.uint8)
    region = image[top:bottom, left:right]
    inner = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]]) @ to_image
    scale = scaling(to_image, np.full(2, size / 2))  # image pixels per chip pixel
    if scale >= _REDUCE_FROM:
        factor = int(scale + 1e-6)
        region = _reduced(region, factor)
        inner = np.diag([1 / factor, 1 / factor, 1.0]) @ inner
    inner = inner / inner[2, 2]
    if inner[2, 0] == inner[2, 1] == 0:
        method, coefficients = Image.Transform.AFFINE, inner[:2].ravel()
    else:
        method, coefficients = Image.Transform.PERSPECTIVE, inner.ravel()[:8]
    chip = Image.fromarray(region).transform((size, size), method, coefficients.tolist(), Image.Resampling.BILINEAR)
    return np.asarray(chip)


def _reduced(region: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Averages blocks of pixels, some rows at a time: Pillow would copy all of a large photo first."""
    rows = max(1, _ROWS_OF_PIXELS // (region.shape[1] * factor)) * factor
    bands = [Image.fromarray(region[top : top + rows]).reduce(factor) for top in range(0, len(region), rows)]
    return np.concatenate([np.asarray(band) for band in bands])
