"""The built default set, where it has been built: real weights against reference values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from app.catalogue.build import is_built
from app.catalogue.models import DETECTOR, FACE_EMBEDDER, FACE_QUALITY, QUALITY_RULES, Model
from app.catalogue.roles import QualityClass
from app.vision.alignment import aligned_chip
from app.vision.detection import Face, faces_from_candidates
from app.vision.letterbox import letterbox
from app.vision.quality import Quality, QualityRules, face_quality
from tests.photos import astronaut

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


def judged(photo: Image.Image, face: Face | None = None) -> tuple[Quality, NDArray[np.float32]]:
    """The quality of the largest face, or of one that is said to be there, and the model's probabilities."""
    image = np.asarray(photo)
    face = face or found(image)[0]
    parameters = FACE_QUALITY.parameters
    template = json.loads(parameters["alignment_template"])
    chip = aligned_chip(image, face.landmarks, template, int(parameters["input_size"]))
    probabilities = session(FACE_QUALITY).run(["QUALITY"], {"FACE": chip[None]})[0][0]
    rules = QualityRules(**{name: float(value) for name, value in QUALITY_RULES.items()})
    return face_quality(probabilities, face, rules), probabilities


def found(image: NDArray[np.uint8]) -> list[Face]:
    frame = letterbox(image, long_side=640, multiple=32)
    boxes, scores, landmarks = (values[0] for values in session(DETECTOR).run(None, {"IMAGE": frame.pixels[None]}))
    height, width = image.shape[:2]
    return faces_from_candidates(
        boxes, scores, landmarks, frame, width=width, height=height, score_threshold=0.5, nms_iou=0.3
    )


@pytest.mark.parametrize("scale", [1, 0.6])
def test_a_portrait_is_clear_also_when_its_face_is_of_fifty_pixels(scale: float) -> None:
    photo = astronaut()
    photo = photo.resize((round(photo.width * scale), round(photo.height * scale)))
    quality, probabilities = judged(photo)
    assert quality is Quality.CLEAR
    assert probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert found(np.asarray(photo))[0].width > 50


def test_a_portrait_of_few_pixels_is_small() -> None:
    assert judged(astronaut().resize((200, 200)))[0] is Quality.SMALL


def test_a_strongly_blurred_portrait_is_blurred() -> None:
    photo = astronaut()
    face = found(np.asarray(photo))[0]  # as it was: the detector need not find it any more
    assert judged(photo.filter(ImageFilter.GaussianBlur(5)), face)[0] is Quality.BLUR


@pytest.mark.parametrize("points", [(0, 1), (3, 4)], ids=["eyes", "mouth"])
def test_a_portrait_with_its_eyes_or_its_mouth_covered_is_covered(points: tuple[int, int]) -> None:
    photo = astronaut()
    face = found(np.asarray(photo))[0]
    first, last = face.landmarks[points[0]], face.landmarks[points[1]]
    margin = (22, 11) if points == (0, 1) else (22, 20)
    corners = (*(first - margin).tolist(), *(last + margin).tolist())
    ImageDraw.Draw(photo).rectangle(corners, fill=(40, 60, 110))
    quality, probabilities = judged(photo, face)
    assert quality is Quality.COVER
    assert list(QualityClass)[int(probabilities.argmax())] is QualityClass.COVER
