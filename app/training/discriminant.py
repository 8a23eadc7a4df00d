"""Linear discriminant analysis: the directions in which classes differ most, against how much one class varies."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.catalogue.projection import Projection

SHRINKAGE: Final = 0.0005
"""Share of the mean variance that every direction gets within a class; few samples underestimate the small ones."""

LEAST_VARIANCE: Final = 1e-6


def fit(features: NDArray[np.float32], classes: NDArray[np.int64], dimensions: int) -> Projection:
    """Fits the projection.

    Features are whitened by the covariance within classes; the directions are the principal axes of
    the class means there. With a between-class variance b, a direction is weighted √(b / (1 + 2b)):
    the inner product is then the log-likelihood ratio's product term of two samples of one class
    (probabilistic LDA, Ioffe 2006, https://doi.org/10.1007/11744085_41) up to scale.

    Args:
        features: FP32 [N,F].
        classes: INT64 [N], 0 to the number of classes - 1, each with several samples.
        dimensions: directions kept, D.

    Returns:
        a projection of unit mean square, in half precision's values.
    """
    counts = np.bincount(classes)
    samples = features.astype(np.float64)
    mean = samples.mean(0)
    samples -= mean
    centres = np.zeros((len(counts), samples.shape[1]))
    np.add.at(centres, classes, samples)
    centres /= counts[:, None]

    inside = samples - centres[classes]
    within = inside.T @ inside / (len(samples) - len(counts))
    within = (1 - SHRINKAGE) * within + SHRINKAGE * np.eye(len(within)) * np.trace(within) / len(within)
    variances, axes = np.linalg.eigh(within)
    whitening = axes / np.sqrt(variances)

    whitened = centres @ whitening
    # The mean of n samples itself varies by 1/n, which is no difference between classes.
    between = whitened.T @ whitened / len(whitened) - np.eye(whitening.shape[1]) / counts.mean()
    strengths, rotation = np.linalg.eigh(between)
    strengths = np.maximum(strengths[::-1][:dimensions], LEAST_VARIANCE)
    directions = whitening @ rotation[:, ::-1][:, :dimensions] * np.sqrt(strengths / (1 + 2 * strengths))
    # An axis has no sign of its own: its largest component is made positive.
    directions *= np.sign(directions[np.abs(directions).argmax(0), np.arange(directions.shape[1])])
    directions /= np.sqrt(np.mean((samples @ directions) ** 2))
    return Projection(mean.astype(np.float32), directions.astype(np.float16).astype(np.float32))
