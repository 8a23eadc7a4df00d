"""The face quality model's graph, on a small network of as many ReLUs, against NumPy."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from app.catalogue.dlib_file import Convolution, DlibFormatError, Network
from app.catalogue.face_quality import FEATURES, GRIDDED, MAPS, WIDTH, build_face_quality, build_features
from app.catalogue.models import FACE_EMBEDDER, FACE_QUALITY
from app.catalogue.quality_head import QualityHead
from tests.pictures import drawing, pixels
from tests.small_dlib_resnet import small_dlib_resnet

Floats = NDArray[np.float32]


@cache
def head() -> QualityHead:
    random = np.random.default_rng(6)
    return QualityHead(*(random.normal(0, 0.02, shape).astype(np.float32) for shape in ((WIDTH, 4), (4,))))


def model() -> onnx.ModelProto:
    return build_face_quality(
        small_dlib_resnet(), head(), FACE_QUALITY.inputs, FACE_QUALITY.outputs, about=FACE_QUALITY.facts
    )


@cache
def session(kind: str) -> ort.InferenceSession:
    graph = model() if kind == "quality" else build_features(small_dlib_resnet(), FACE_QUALITY.inputs)
    return ort.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])


def chips(*seeds: int) -> NDArray[np.uint8]:
    return np.stack([pixels(drawing(seed, size=(150, 150))) for seed in seeds])


def features(batch: NDArray[np.uint8]) -> Floats:
    result: Floats = session("features").run([FEATURES.name], {"FACE": batch})[0]
    return result


def quality(batch: NDArray[np.uint8]) -> Floats:
    result: Floats = session("quality").run(["QUALITY"], {"FACE": batch})[0]
    return result


def expected(chip: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The same features in float64, from the network's description."""
    network = small_dlib_resnet()
    plane = (chip.astype(np.float64) - network.mean) / 256
    moments, cells, relus = [], [], 0
    for layer in network.layers:
        if isinstance(layer, Convolution) and relus < 21:
            side, kernel = layer.stride, layer.kernel.astype(np.float64)
            size = plane.shape[0] // side
            blocks = plane.reshape(size, side, size, side, -1)
            plane = np.maximum(np.einsum("yixjc,ocij->yxo", blocks, kernel) + layer.bias, 0)
            relus += 1
            if relus in dict(MAPS):
                moments += [plane.mean((0, 1)), plane.std((0, 1))]
            if relus in GRIDDED:  # ten pixels a side: four cells of four that overlap by two
                starts = (0, 2, 4, 6)
                means = [[plane[y : y + 4, x : x + 4].mean((0, 1)) for x in starts] for y in starts]
                cells.append(np.moveaxis(np.array(means), 2, 0).ravel())
    return np.concatenate(moments + cells)


def test_features_are_means_and_deviations_after_the_named_relus_and_means_in_a_grid() -> None:
    assert [relu for relu, _ in MAPS] == [1, 7, 15, 21]
    batch = chips(1, 2)
    for number in range(2):
        np.testing.assert_allclose(features(batch)[number], expected(batch[number]), atol=2e-5)


def test_probabilities_are_the_softmax_of_the_heads_product() -> None:
    batch = chips(1, 2, 3)
    np.testing.assert_allclose(quality(batch), head()(features(batch)), atol=1e-5)
    np.testing.assert_allclose(quality(batch).sum(1), 1, atol=1e-5)
    assert np.ptp(quality(batch), axis=0).max() > 0.01


def test_a_face_in_a_batch_gets_what_it_gets_alone() -> None:
    batch = chips(1, 2, 3)
    together = quality(batch)
    for number in range(3):
        np.testing.assert_allclose(together[number], quality(batch[number : number + 1])[0], atol=1e-6)


@pytest.mark.parametrize("value", [0, 255])
def test_a_plain_chip_has_finite_probabilities(value: int) -> None:
    assert np.isfinite(quality(np.full((1, 150, 150, 3), value, np.uint8))).all()


def test_what_lies_above_the_last_map_is_left_out() -> None:
    shapes = {tuple(item.dims) for item in model().graph.initializer}
    assert (128, 128, 1, 1) in shapes
    assert (16, 128, 1, 1) not in shapes
    assert (16, 128) not in shapes


def test_a_network_with_fewer_relus_is_refused() -> None:
    whole = small_dlib_resnet()
    with pytest.raises(DlibFormatError, match="there are 20 ReLUs, not 21"):
        build_features(Network(whole.mean, whole.size, whole.layers[:60]), FACE_QUALITY.inputs)


def test_the_model_takes_the_chip_that_the_face_embedder_takes() -> None:
    assert FACE_QUALITY.inputs == FACE_EMBEDDER.inputs
    for name in ("input_size", "alignment_template"):
        assert FACE_QUALITY.parameters[name] == FACE_EMBEDDER.parameters[name]
