"""The detector's graph, on a small network of CenterFace's shape that the tests make themselves."""

from __future__ import annotations

from functools import cache

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from app.catalogue.centerface import CANDIDATES, build_detector
from app.catalogue.models import DETECTOR

Floats = NDArray[np.float32]


@cache
def small_centerface() -> onnx.ModelProto:
    """Convolution to an eighth of the side, transposed convolution and normalisation back to a quarter, four heads."""
    rng = np.random.default_rng(3)
    weights: dict[str, Floats] = {
        "stem": rng.normal(0, 0.002, (6, 3, 8, 8)).astype(np.float32),
        "stem_bias": rng.normal(0, 0.1, 6).astype(np.float32),
        "up": rng.normal(0, 0.5, (6, 6, 2, 2)).astype(np.float32),
        "scale": rng.uniform(0.5, 1.5, 6).astype(np.float32),
        "shift": rng.normal(0, 0.3, 6).astype(np.float32),
        "mean": rng.normal(0, 0.3, 6).astype(np.float32),
        "variance": rng.uniform(0.5, 1.5, 6).astype(np.float32),
    }
    for head, width in (("heat", 1), ("size", 2), ("offset", 2), ("landmarks", 10)):
        spread = 0.05 if head == "size" else 0.7  # sizes are logarithms: keep boxes within some 100 pixels
        weights[f"{head}_kernel"] = rng.normal(0, spread, (width, 6, 1, 1)).astype(np.float32)
        weights[f"{head}_bias"] = rng.normal(0, 0.3, width).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["pixels", "stem", "stem_bias"], ["a"], strides=[8, 8]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("ConvTranspose", ["b", "up"], ["c"], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "variance"], ["d"], epsilon=1e-3),
        helper.make_node("Relu", ["d"], ["e"]),
        helper.make_node("Conv", ["e", "heat_kernel", "heat_bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], ["heat"]),
    ]
    nodes += [
        helper.make_node("Conv", ["e", f"{head}_kernel", f"{head}_bias"], [head])
        for head in ("size", "offset", "landmarks")
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width, "y", "x"])
            for name, width in (("heat", 1), ("size", 2), ("offset", 2), ("landmarks", 10))
        ],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


@cache
def session(kind: str) -> ort.InferenceSession:
    model = small_centerface()
    if kind == "detector":
        model = build_detector(model, DETECTOR.inputs, DETECTOR.outputs, about=DETECTOR.facts)
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def detect(images: NDArray[np.uint8]) -> tuple[Floats, Floats, Floats]:
    boxes, scores, landmarks = session("detector").run(["BOXES", "SCORES", "LANDMARKS"], {"IMAGE": images})
    return boxes, scores, landmarks


def decoded(image: NDArray[np.uint8]) -> dict[tuple[int, int], tuple[float, Floats, Floats, bool]]:
    """Score, box, landmarks and whether it is a peak of every cell, from the raw maps by CenterFace's rule."""
    pixels = image.transpose(2, 0, 1)[None].astype(np.float32)
    heat, size, offset, points = (maps[0] for maps in session("raw").run(None, {"pixels": pixels}))
    rows, columns = heat.shape[1:]
    padded = np.pad(heat[0], 1, constant_values=-1)
    cells = {}
    for row in range(rows):
        for column in range(columns):
            height, width = np.exp(size[:, row, column]) * 4
            top = (row + offset[0, row, column] + 0.5) * 4 - height / 2
            left = (column + offset[1, row, column] + 0.5) * 4 - width / 2
            pairs = points[:, row, column].reshape(5, 2)
            landmarks = np.stack([pairs[:, 1] * width + left, pairs[:, 0] * height + top], axis=1)
            peak = bool(heat[0, row, column] == padded[row : row + 3, column : column + 3].max())
            box = np.array([left, top, left + width, top + height])
            cells[row, column] = (float(heat[0, row, column]), box, landmarks, peak)
    return cells


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(4).integers(0, 256, (*shape, 3), dtype=np.uint8)


def test_candidates_are_the_peaks_of_the_heat_map_decoded_in_pixels_best_first() -> None:
    image = noise(64, 96)
    boxes, scores, landmarks = (values[0] for values in detect(image[None]))
    wanted = sorted((cell for cell in decoded(image).values() if cell[3]), key=lambda cell: -cell[0])
    assert len(wanted) > 5
    found = scores > 0
    assert found.sum() == len(wanted)
    np.testing.assert_allclose(scores[found], [cell[0] for cell in wanted], atol=1e-5)
    np.testing.assert_allclose(boxes[found], [cell[1] for cell in wanted], atol=2e-3)
    np.testing.assert_allclose(landmarks[found], [cell[2] for cell in wanted], atol=2e-3)


def test_scores_fall_and_cells_beside_a_peak_have_none() -> None:
    image = noise(64, 64)
    _, scores, _ = detect(image[None])
    assert (np.diff(scores[0]) <= 0).all()
    assert 0 < (scores[0] > 0).sum() < 64 * 64 / 16 / 2


@pytest.mark.parametrize(("height", "width"), [(32, 32), (32, 64), (96, 32), (224, 288)])
def test_any_multiple_of_32_works_and_small_images_give_fewer_candidates(height: int, width: int) -> None:
    boxes, scores, landmarks = detect(noise(2, height, width))
    kept = min(CANDIDATES, height * width // 16)
    assert boxes.shape == (2, kept, 4)
    assert scores.shape == (2, kept)
    assert landmarks.shape == (2, kept, 5, 2)


def test_an_image_in_a_batch_gets_what_it_gets_alone() -> None:
    images = noise(3, 64, 96)
    together = detect(images)
    for number, image in enumerate(images):
        for whole, alone in zip(together, detect(image[None]), strict=True):
            np.testing.assert_array_equal(whole[number], alone[0])
