"""The multinomial regression, on problems whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from app.training import softmax_regression
from app.training.softmax_regression import fit


def test_with_one_feature_of_two_values_the_fit_gives_the_counted_shares() -> None:
    # Without a penalty worth the name, probabilities are the shares of the classes at each value.
    features = np.repeat(np.array([[0.0], [1.0]], np.float32), 10, axis=0)
    classes = np.array([0] * 6 + [1] * 3 + [2] * 1 + [0] * 1 + [1] * 2 + [2] * 7)
    head = fit(features, classes, np.ones(20), 1e-9)
    expected = [[0.6, 0.3, 0.1], [0.1, 0.2, 0.7]]
    np.testing.assert_allclose(head(np.array([[0.0], [1.0]], np.float32)), expected, atol=2e-4)


def test_weights_count_as_copies_of_a_sample() -> None:
    random = np.random.default_rng(1)
    features = random.normal(0, 1, (40, 3)).astype(np.float32)
    classes = random.integers(0, 3, 40)
    copies = random.integers(1, 4, 40)
    weighted = fit(features, classes, copies.astype(np.float64), 0.01)
    repeated = fit(np.repeat(features, copies, axis=0), np.repeat(classes, copies), np.ones(copies.sum()), 0.01)
    np.testing.assert_allclose(weighted.weights, repeated.weights, atol=1e-4)
    np.testing.assert_allclose(weighted.bias, repeated.bias, atol=1e-4)


def test_the_objectives_gradient_is_zero_at_the_fit() -> None:
    random = np.random.default_rng(2)
    features = (random.normal(0, 1, (300, 6)) * [1, 5, 0.1, 1, 2, 1] + 3).astype(np.float32)
    classes = np.argmax(features[:, :4] + random.normal(0, 1, (300, 4)), axis=1)
    penalty = 0.05
    head = fit(features, classes, np.ones(300), penalty)
    deviation = features.std(0)
    standard = (features - features.mean(0)) / deviation
    error = (head(features) - np.eye(4)[classes]) / 300
    np.testing.assert_allclose(standard.T @ error + penalty * head.weights * deviation[:, None], 0, atol=1e-5)
    np.testing.assert_allclose(error.sum(0), 0, atol=1e-5)


def test_a_stronger_penalty_makes_smaller_coefficients() -> None:
    random = np.random.default_rng(3)
    features = random.normal(0, 1, (100, 2)).astype(np.float32)
    classes = (features[:, 0] > 0).astype(np.int64)
    strong, weak = (np.abs(fit(features, classes, np.ones(100), penalty).weights).max() for penalty in (1, 0.01))
    assert strong < weak / 5


def test_a_feature_that_never_changes_has_no_influence() -> None:
    features = np.column_stack([np.arange(20), np.full(20, 7)]).astype(np.float32)
    head = fit(features, (np.arange(20) > 9).astype(np.int64), np.ones(20), 0.01)
    np.testing.assert_allclose(head.weights[1], 0, atol=1e-5)
    assert head(features).argmax(1).tolist() == [0] * 10 + [1] * 10


def test_the_same_samples_give_the_same_head() -> None:
    random = np.random.default_rng(4)
    features, classes = random.normal(0, 1, (50, 5)).astype(np.float32), np.arange(50) % 4
    one, again = (fit(features.copy(), classes, np.ones(50), 0.01).to_bytes() for _ in range(2))
    assert one == again


def test_a_fit_that_does_not_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softmax_regression, "MOST_STEPS", 1)
    with pytest.raises(ArithmeticError, match="does not converge"):
        fit(np.eye(4, dtype=np.float32), np.arange(4), np.ones(4), 0.01)
