"""The discriminant analysis, on classes made with known directions."""

from __future__ import annotations

import numpy as np

from app.training.discriminant import fit


def samples(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Classes that differ along the first two of eight axes; the third varies most, but within every class."""
    random = np.random.default_rng(seed)
    classes = np.repeat(np.arange(60), 12)
    centres = np.zeros((60, 8))
    centres[:, :2] = random.normal(0, (2.0, 1.0), (60, 2))
    spread = np.array([0.3, 0.3, 9.0, 0.5, 0.5, 0.5, 0.5, 0.5])
    return (centres[classes] + random.normal(0, spread, (720, 8))).astype(np.float32), classes


def test_what_tells_classes_apart_is_kept_and_what_varies_within_them_is_not() -> None:
    features, classes = samples(1)
    projection = fit(features, classes, 2)
    strength = np.abs(projection.directions)
    assert strength.shape == (8, 2)
    assert strength[:2].max() > 20 * strength[2:].max()


def test_samples_of_one_class_become_alike_and_those_of_others_do_not() -> None:
    features, classes = samples(2)

    def cosines(rows: np.ndarray) -> tuple[float, float]:
        """Mean cosine of pairs of one class, and of pairs of two."""
        units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        similar, same = units @ units.T, classes[:, None] == classes
        return float(similar[same].mean()), float(similar[~same].mean())

    alike, _ = cosines(features - features.mean(0))
    assert alike < 0.3
    alike, different = cosines((features - features.mean(0)) @ fit(features, classes, 2).directions)
    assert alike > 0.8
    assert abs(different) < 0.1


def test_the_same_samples_give_the_same_projection_and_axes_point_to_their_largest_component() -> None:
    features, classes = samples(3)
    one, again = fit(features, classes, 3), fit(features.copy(), classes, 3)
    np.testing.assert_array_equal(one.directions, again.directions)
    largest = one.directions[np.abs(one.directions).argmax(0), np.arange(3)]
    assert (largest > 0).all()


def test_a_projection_has_unit_mean_square_and_values_of_half_precision() -> None:
    features, classes = samples(4)
    projection = fit(features, classes, 3)
    projected = (features - projection.mean) @ projection.directions
    np.testing.assert_allclose(np.mean(projected**2), 1, rtol=5e-3)
    np.testing.assert_array_equal(projection.directions.astype(np.float16), projection.directions)
