"""The image descriptor that is made from formulas."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from app.catalogue.gabor import DIMENSIONS, build_image_embedder, filters, filters_sha256
from app.catalogue.models import IMAGE_EMBEDDER

Floats = NDArray[np.float32]


@cache
def session() -> ort.InferenceSession:
    model = build_image_embedder(IMAGE_EMBEDDER.inputs, IMAGE_EMBEDDER.outputs, about=IMAGE_EMBEDDER.facts)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def embed(*pictures: Image.Image) -> Floats:
    squares = [np.asarray(picture.resize((128, 128), Image.Resampling.BOX)) for picture in pictures]
    result: Floats = session().run(["EMBEDDING"], {"IMAGE": np.stack(squares)})[0]
    return result


def picture(seed: int) -> Image.Image:
    """Coloured blobs and bars: a scene with edges at several scales."""
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
        (320, 240), Image.Resampling.BICUBIC
    )
    pixels = np.asarray(rough).copy()
    for _ in range(12):
        y, x, height, width = rng.integers((0, 0, 8, 8), (200, 280, 90, 90))
        pixels[y : y + height, x : x + width] = rng.integers(0, 256, 3)
    return Image.fromarray(pixels)


def test_the_filters_are_the_ones_that_the_catalogue_names() -> None:
    assert filters_sha256() == IMAGE_EMBEDDER.weights_sha256


def test_filters_have_unit_energy_and_ignore_a_plain_area() -> None:
    even, odd = filters()
    np.testing.assert_allclose((even.astype(np.float64) ** 2).sum((1, 2, 3)), 1, atol=1e-4)
    np.testing.assert_allclose(even.astype(np.float64).sum((1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(odd.astype(np.float64).sum((1, 2, 3)), 0, atol=1e-4)


def test_embeddings_have_length_one_and_the_promised_width() -> None:
    embeddings = embed(picture(1), picture(2))
    assert embeddings.shape == (2, DIMENSIONS) == (2, 480)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    "changed",
    [
        lambda image: image.resize((80, 60), Image.Resampling.BOX),
        lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
        lambda image: image.point(lambda value: value * 0.6),
        lambda image: image.convert("L").convert("RGB"),
        lambda image: image.crop((12, 9, 308, 231)),
    ],
    ids=["smaller", "blurred", "darker", "grey", "cropped"],
)
def test_a_changed_picture_stays_nearer_to_its_original_than_to_any_other(changed: object) -> None:
    assert callable(changed)
    originals = [picture(seed) for seed in range(12)]
    cosines = embed(*(changed(original) for original in originals)) @ embed(*originals).T
    assert cosines.argmax(1).tolist() == list(range(12))


def test_an_image_in_a_batch_gets_what_it_gets_alone() -> None:
    together = embed(picture(1), picture(2), picture(3))
    for number in range(3):
        np.testing.assert_allclose(together[number], embed(picture(number + 1))[0], atol=1e-6)


def test_plain_grey_images_are_alike_and_no_noise() -> None:
    greys = embed(*(Image.new("RGB", (40, 30), (value,) * 3) for value in (0, 7, 128, 201, 255)))
    np.testing.assert_allclose(np.linalg.norm(greys, axis=1), 1, atol=1e-5)
    assert (greys @ greys.T).min() > 0.99


def test_plain_images_of_opposite_colours_differ() -> None:
    red, blue = embed(Image.new("RGB", (40, 30), (255, 0, 0)), Image.new("RGB", (40, 30), (0, 0, 255)))
    assert red @ blue < 0
