"""The image descriptor's graph, on a small network of the same activations, against NumPy."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from app.catalogue.image_descriptor import FEATURES, build_features, build_image_embedder
from app.catalogue.models import IMAGE_EMBEDDER
from app.catalogue.projection import Projection
from tests.pictures import drawing, pixels
from tests.small_centerface import LAYERS, small_centerface

Floats = NDArray[np.float32]


@cache
def projection() -> Projection:
    random = np.random.default_rng(6)
    return Projection(*(random.normal(0, 0.05, shape).astype(np.float32) for shape in ((1824,), (1824, 384))))


def embedder() -> onnx.ModelProto:
    return build_image_embedder(
        small_centerface(), projection(), IMAGE_EMBEDDER.inputs, IMAGE_EMBEDDER.outputs, about=IMAGE_EMBEDDER.facts
    )


@cache
def session(kind: str) -> ort.InferenceSession:
    if kind == "maps":
        model = onnx.ModelProto()
        model.CopyFrom(small_centerface())
        names = [name for name, *_ in LAYERS]
        del model.graph.output[:]
        model.graph.output.extend(onnx.helper.make_tensor_value_info(name, 1, None) for name in names)
    else:
        model = embedder() if kind == "embedder" else build_features(small_centerface(), IMAGE_EMBEDDER.inputs)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def images(*seeds: int) -> NDArray[np.uint8]:
    return np.stack([pixels(drawing(seed, size=(256, 256))) for seed in seeds])


def embed(batch: NDArray[np.uint8]) -> Floats:
    result: Floats = session("embedder").run(["EMBEDDING"], {"IMAGE": batch})[0]
    return result


def features(batch: NDArray[np.uint8]) -> Floats:
    result: Floats = session("features").run([FEATURES.name], {"IMAGE": batch})[0]
    return result


def resized(plane: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Linear interpolation between pixel centres, along both axes."""
    for axis in (0, 1):
        places = np.clip((np.arange(side) + 0.5) * plane.shape[axis] / side - 0.5, 0, plane.shape[axis] - 1)
        low = np.floor(places).astype(int)
        high = np.minimum(low + 1, plane.shape[axis] - 1)
        share = np.expand_dims(places - low, tuple({0, 1, 2} - {axis}))
        plane = plane.take(low, axis) * (1 - share) + plane.take(high, axis) * share
    return plane


def test_features_are_generalised_means_over_four_views() -> None:
    image = images(1)[0]
    upright = [resized(part.astype(np.float64), 192) for part in (image, image[44:212, 44:212])]
    views = np.stack([*upright, *(np.rot90(view) for view in upright)]).transpose(0, 3, 1, 2)
    expected = []
    for activations in session("maps").run(None, {"pixels": views.astype(np.float32)}):
        for power in (1, 3):
            mean = (activations.astype(np.float64) ** power).mean((0, 2, 3))
            root = np.sqrt(mean ** (1 / power))
            expected.append(root / np.linalg.norm(root))
    np.testing.assert_allclose(features(image[None])[0], np.concatenate(expected), atol=1e-5)


def test_the_embedding_is_the_projection_of_the_features() -> None:
    batch = images(1, 2)
    np.testing.assert_allclose(embed(batch), projection()(features(batch)), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embed(batch), axis=1), 1, atol=1e-5)


def test_an_image_in_a_batch_gets_what_it_gets_alone() -> None:
    batch = images(1, 2, 3)
    together = embed(batch)
    for number in range(3):
        np.testing.assert_allclose(together[number], embed(batch[number : number + 1])[0], atol=1e-6)


@pytest.mark.parametrize("value", [0, 255])
def test_a_plain_image_has_a_finite_embedding(value: int) -> None:
    assert np.isfinite(embed(np.full((1, 256, 256, 3), value, np.uint8))).all()


def test_what_follows_the_last_map_is_left_out() -> None:
    shapes = {tuple(item.dims) for item in embedder().graph.initializer}
    assert (384, 192, 1, 1) in shapes
    assert (9, 384, 1, 1) not in shapes
