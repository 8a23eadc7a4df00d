"""What is told of models' speeds, and of how far their outputs moved."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from app.catalogue.roles import BOXES, EMBEDDING, LANDMARKS, QUALITY, SCORES, Role
from loadtest.model_differences import differences
from loadtest.model_sessions import CPU, Change, Speed, Way, alternated, opened
from loadtest.model_speed import changes
from loadtest.model_tables import Measured, images_a_second, tables


def test_an_image_takes_what_its_models_take_one_after_the_other() -> None:
    assert images_a_second({"find": 100, "embed": 1000}, {"find": 2, "embed": 5}) == pytest.approx(40)


def test_candidates_are_held_against_the_nearest_not_against_those_of_the_same_place() -> None:
    boxes = np.array([[[0, 0, 10, 10], [50, 50, 70, 70], [9, 9, 9, 9]]], np.float32)
    landmarks = np.arange(30, dtype=np.float32).reshape(1, 3, 5, 2)
    scores = np.array([[0.9, 0.8, 0.1]], np.float32)
    order = [1, 0, 2]
    moved = {
        BOXES: boxes[:, order] + np.float32(0.5),
        SCORES: scores[:, order],
        LANDMARKS: landmarks[:, order] + np.float32(0.25),
    }
    found = differences(Role.FACE_DETECTOR, {BOXES: boxes, SCORES: scores, LANDMARKS: landmarks}, moved)
    assert (found["candidates"], found["candidates there"], found["score, largest"]) == (2, 2, 0)
    assert (found["box, largest (pixels)"], found["landmark, largest"]) == (0.5, 0.25)


def test_embeddings_and_classes_that_moved_are_told() -> None:
    before = {EMBEDDING: np.array([[3, 4], [1, 0]], np.float32)}
    found = differences(Role.FACE_EMBEDDER, before, {EMBEDDING: np.array([[3, 4], [0, 1]], np.float32)})
    assert found == pytest.approx({"L2, largest": 2**0.5, "L2, mean": 2**0.5 / 2, "cosine, least": 0})
    classes = np.array([[0.6, 0.4, 0, 0], [0.3, 0.7, 0, 0]], np.float32)
    other = np.array([[0.4, 0.6, 0, 0], [0.3, 0.7, 0, 0]], np.float32)
    found = differences(Role.FACE_QUALITY, {QUALITY: classes}, {QUALITY: other})
    assert found == pytest.approx({"probability, largest": 0.2, "other classes": 1})


def test_tables_say_what_was_not_measured() -> None:
    speeds = {"256x256 1": {1: Speed(2.0, 500.0), 2: Speed(3.0, 900.0)}}
    changed = {"256x256 1 / 256x256 8": Change(900.0, 2.5)}
    whole = Measured("image_embedder", "TF32", first={"256x256 1": 10.0}, changes=changed, speeds=speeds)
    broken = Measured("image_embedder", "FP16", failure="ImportError: no converter")
    text = "\n".join(tables([whole, broken]))
    assert "| image_embedder | 256x256 | 1 | 10 | 2.00 | 500 | 3.00 | 900 |" in text
    assert "| image_embedder | 256x256 | 1 | 2.00 | 500 | – | – |" in text
    assert "| image_embedder | TF32 | 256x256 1 / 256x256 8 | 900.00 | 2.50 |" in text
    assert "image_embedder, FP16: ImportError: no converter" in text


def test_a_shape_changes_to_the_next_batch_and_to_the_other_size() -> None:
    names = ["480x640 1", "480x640 2", "480x640 4", "192x192 1", "192x192 2"]
    assert changes(names) == [("480x640 1", "480x640 2"), ("480x640 1", "192x192 1")]
    assert changes(["150x150 1"]) == []


def test_each_call_after_a_change_is_followed_by_one_of_the_same_shape(tmp_path: Path) -> None:
    session = opened(_doubling(), Way("CPU", CPU), tmp_path / "profile")
    found = alternated(session, (np.zeros((1, 2), np.float32), np.zeros((3, 2), np.float32)), seconds=0)
    assert min(found.changed, found.repeated) > 0
    events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    kernels = (event["args"] for event in events if event["name"].endswith("_kernel_time"))
    shapes = [facts["input_type_shape"][0]["float"][0] for facts in kernels]
    runs = [(shape, len(list(calls))) for shape, calls in itertools.groupby(shapes)]
    assert runs == [(3, 1), *[(1, 2), (3, 2)] * 3]


def _doubling() -> bytes:
    """A model of one node that takes any number of items."""
    tensors = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["items", 2]) for name in ("x", "y")]
    node = onnx.helper.make_node("Add", ["x", "x"], ["y"], name="add")
    graph = onnx.helper.make_graph([node], "doubling", tensors[:1], tensors[1:])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())
