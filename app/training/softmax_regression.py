"""Multinomial logistic regression: the linear map whose softmax fits classes best, kept small by a penalty."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.catalogue.quality_head import QualityHead

TOLERANCE: Final = 1e-6
"""Largest component of the objective's gradient at which the fit has converged."""

MOST_STEPS: Final = 20_000
LEAST_DEVIATION: Final = 1e-6

Floats = NDArray[np.float64]


def fit(features: NDArray[np.float32], classes: NDArray[np.int64], weights: Floats, penalty: float) -> QualityHead:
    """Fits the head.

    Minimised is the weighted mean of -log p(class | features) plus ``penalty / 2`` times the sum of the
    squared coefficients of the features, brought to mean 0 and deviation 1; the constants are free. Each
    step solves with ½·XᵀX + penalty, an upper bound of the Hessian for coefficients that sum to 0 over the
    classes (Böhning 1992, https://doi.org/10.1007/BF00048682), so it never overshoots, and is sped up by
    Nesterov's momentum, dropped where it points uphill (O'Donoghue and Candès 2015,
    https://doi.org/10.1007/s10208-013-9150-3).

    Args:
        features: FP32 [N,F].
        classes: INT64 [N], 0 to C - 1, each there.
        weights: of the samples, FP64 [N], positive.
        penalty: on the coefficients, positive.

    Returns:
        the head, of the features as they are given.

    Raises:
        ArithmeticError: it does not converge.
    """
    shares = weights / weights.sum()
    mean = shares @ features.astype(np.float64)
    deviation = np.maximum(np.sqrt(shares @ (features - mean) ** 2), LEAST_DEVIATION)
    samples = np.column_stack([(features - mean) / deviation, np.ones(len(features))])
    targets = np.eye(int(classes.max()) + 1)[classes]
    ridge = np.full(samples.shape[1], penalty)
    ridge[-1] = 0
    inverse = np.linalg.inv(samples.T @ (samples * shares[:, None]) / 2 + np.diag(ridge))

    coefficients = np.zeros((samples.shape[1], targets.shape[1]))
    ahead, momentum = coefficients, 1.0
    for _ in range(MOST_STEPS):
        gradient = samples.T @ ((_softmax(samples @ ahead) - targets) * shares[:, None]) + ridge[:, None] * ahead
        if np.abs(gradient).max() < TOLERANCE:
            break
        following = ahead - inverse @ gradient
        if np.sum(gradient * (following - coefficients)) > 0:
            momentum = 1.0
        stronger = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / stronger * (following - coefficients)
        coefficients, momentum = following, stronger
    else:
        raise ArithmeticError("the regression does not converge")
    scaled = ahead[:-1] / deviation[:, None]
    return QualityHead(scaled.astype(np.float32), (ahead[-1] - mean @ scaled).astype(np.float32))


def _softmax(logits: Floats) -> Floats:
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(powers / powers.sum(1, keepdims=True))
