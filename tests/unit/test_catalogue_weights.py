"""The built default set, where it has been built: real weights against reference values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from app.catalogue.build import is_built
from app.catalogue.models import DETECTOR, FACE_EMBEDDER, Model

ROOT = Path(__file__).parents[2]


def session(model: Model) -> ort.InferenceSession:
    folder = ROOT / "model_repository" / model.role
    if not is_built(folder, model):
        pytest.skip("the weights are not built: run `likeness models build`")
    return ort.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])


def test_the_face_embedder_gives_dlibs_own_descriptors() -> None:
    # Made chips and what dlib 20.0.1 computed from them; a swapped colour order is off by over 0.1.
    with np.load(ROOT / "tests" / "data" / "dlib_resnet_parity.npz") as reference:
        chips, descriptors = reference["chips"], reference["descriptors"]
    (embeddings,) = session(FACE_EMBEDDER).run(["EMBEDDING"], {"FACE": chips})
    np.testing.assert_allclose(embeddings, descriptors, atol=1e-4)
    (swapped,) = session(FACE_EMBEDDER).run(["EMBEDDING"], {"FACE": np.ascontiguousarray(chips[..., ::-1])})
    assert np.abs(swapped - descriptors).max() > 0.01


def test_the_face_detector_gives_an_image_in_a_batch_what_it_gets_alone() -> None:
    detector = session(DETECTOR)
    images = np.random.default_rng(1).integers(0, 256, (3, 96, 64, 3), dtype=np.uint8)
    together = detector.run(None, {"IMAGE": images})
    for number, image in enumerate(images):
        for whole, alone in zip(together, detector.run(None, {"IMAGE": image[None]}), strict=True):
            np.testing.assert_allclose(whole[number], alone[0], atol=1e-4)


def test_the_face_detector_finds_one_large_face_and_no_crowd_around_it() -> None:
    data = pytest.importorskip("skimage.data")
    photo = np.asarray(data.astronaut())  # 512×512, public domain
    boxes, scores, landmarks = (values[0] for values in session(DETECTOR).run(None, {"IMAGE": photo[None]}))
    assert scores[0] > 0.8
    left, top, right, bottom = boxes[0]
    assert 150 < left < right < 300
    assert 40 < top < bottom < 220
    assert (scores >= 0.5).sum() <= 3
    right_eye, left_eye, nose, right_mouth, left_mouth = landmarks[0]
    assert left < right_eye[0] < nose[0] < left_eye[0] < right
    assert right_mouth[0] < left_mouth[0]
    assert top < right_eye[1] < nose[1] < right_mouth[1] < bottom
