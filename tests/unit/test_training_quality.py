"""Training the face quality head from end to end, on drawings, a stand-in for the detector and a small network."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.catalogue.face_quality import WIDTH, build_features
from app.catalogue.models import DLIB_TEMPLATE, FACE_QUALITY
from app.catalogue.quality_head import QualityHead
from app.catalogue.roles import BOXES, LANDMARKS, SCORES
from app.cli import main
from app.errors import OperatorError
from app.training import face_quality, quality_samples
from app.training.face_quality import agree, held_out, train_quality
from app.training.faces import TrainingFace, persons
from app.training.features import GraphRunner
from app.training.portrait import POINTS, SIDE, Portrait
from app.training.quality_evaluation import of_photographed, of_samples
from app.training.quality_samples import FOLDS, KINDS, QualitySamples, folds
from app.vision.detection import Face
from tests.pictures import drawing, encoded, pixels
from tests.small_dlib_resnet import small_dlib_resnet

Floats = NDArray[np.float32]


class MiddleDetector:
    """Finds one face in the middle of every image, whatever it shows."""

    def __init__(self, *, nose: float = 0.0) -> None:
        self._nose = nose

    def outputs(self, batch: NDArray[np.uint8]) -> dict[str, Floats]:
        landmarks = np.asarray(DLIB_TEMPLATE, np.float32) + np.array([245, 165], np.float32)
        landmarks[2, 0] += self._nose
        return {
            BOXES: np.array([[[262, 180, 378, 310]]], np.float32),
            SCORES: np.array([[0.9]], np.float32),
            LANDMARKS: landmarks[None, None].astype(np.float32),
        }


def mean_samples(features: Floats, classes: np.ndarray, weights: np.ndarray, penalty: float) -> QualityHead:
    """In place of the regression, which takes seconds: of every training sample."""
    means = (features - features.mean(0)).T @ (np.eye(4)[classes] * weights[:, None] * penalty)
    return QualityHead(means.astype(np.float32), np.zeros(4, np.float32))


def made_face(name: str, seed: int = 0) -> TrainingFace:
    image = pixels(drawing(seed, size=(SIDE, SIDE)))
    landmarks = POINTS.astype(np.float32)
    return TrainingFace(
        name, Face((92, 80, 208, 230), 0.9, landmarks), image[75:225, 75:225], Portrait(image, POINTS, 117)
    )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """One sample of a few kinds of each of ten drawings; returns the folder that holds them."""
    few = ("as photographed", "soft", "object", "yaw 35 to 60°", "yaw 20°")
    kinds = {name: replace(KINDS[name], count=1) for name in few}
    for module in (face_quality, quality_samples, sys.modules["app.training.quality_evaluation"]):
        monkeypatch.setattr(module, "KINDS", kinds)
    monkeypatch.setattr(face_quality, "FEWEST_FACES", 10)
    monkeypatch.setattr(face_quality, "fit", mean_samples)
    monkeypatch.setattr(face_quality, "_detector", lambda cache, say: MiddleDetector())
    monkeypatch.setattr(face_quality, "weights", lambda source, cache, say: b"")
    monkeypatch.setattr(face_quality, "read_network", lambda data: small_dlib_resnet())
    monkeypatch.setattr("app.training.faces.SAME_PERSON", 0.0)
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(10):
        (folder / f"{seed:02}.png").write_bytes(encoded(drawing(seed, size=(320, 240)), "PNG"))
    return folder


def train(photos: Path, output: Path, *, seed: int = 7) -> dict[str, Any]:
    train_quality([photos], output, photos.parent / "cache", seed=seed, say=lambda _: None)
    told: dict[str, Any] = json.loads((output / "face_quality_head.json").read_text(encoding="utf-8"))
    return told


def test_training_writes_the_head_and_where_it_is_from(quick: Path, tmp_path: Path) -> None:
    told = train(quick, tmp_path / "out")
    content = (tmp_path / "out" / "face_quality_head.npz").read_bytes()
    assert told["sha256"] == hashlib.sha256(content).hexdigest()
    assert QualityHead.from_bytes(content).weights.shape == (WIDTH, 4)
    assert told["command"] == "likeness models train-quality PHOTOS --seed 7"
    assert told["photos"]["03.png"] == hashlib.sha256((quick / "03.png").read_bytes()).hexdigest()
    assert (told["faces"], told["persons"]) == (10, 10)
    made, real = told["evaluation"]["made"], told["evaluation"]["photographed"]
    assert made["samples"] == np.sum(made["confusion"]["counts"]) == 40
    assert made["kinds"]["yaw 20°"]["shall_be"] == "not judged"
    assert real["trained_on"]["faces"] == sum(real["trained_on"]["said"].values()) == 10
    assert real["turned_by_landmarks"]["faces"] == real["too_small_to_train_on"]["faces"] == 0
    assert str(tmp_path) not in json.dumps(told)


def test_the_same_photos_and_seed_give_the_same_files_and_another_seed_others(quick: Path, tmp_path: Path) -> None:
    one, again, other = (train(quick, tmp_path / name, seed=seed) for name, seed in (("1", 7), ("2", 7), ("3", 8)))
    assert one == again
    assert one["sha256"] != other["sha256"]


def test_too_few_faces_and_too_few_persons_are_refused(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(OperatorError, match="1 usable faces are too few"):
        train_quality([quick / "01.png"], tmp_path / "out", tmp_path, seed=7, say=lambda _: None)
    monkeypatch.setattr("app.training.faces.SAME_PERSON", 1e9)
    with pytest.raises(OperatorError, match="1 persons are too few"):
        train(quick, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_faces_that_are_turned_are_not_taken_for_clear_ones(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_quality, "_detector", lambda cache, say: MiddleDetector(nose=20))
    with pytest.raises(OperatorError, match="0 usable faces are too few"):
        train(quick, tmp_path / "out")


def test_a_photo_that_is_missing_is_an_error_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "train-quality", "no-such-photo.jpg"]) == 1
    assert "no-such-photo.jpg cannot be read" in capsys.readouterr().err


def test_features_that_are_of_other_faces_than_the_graph_sees_are_found() -> None:
    chips = [pixels(drawing(seed, size=(150, 150))) for seed in range(3)]
    features = GraphRunner(build_features(small_dlib_resnet(), FACE_QUALITY.inputs)).run(chips)
    random = np.random.default_rng(1)
    head = QualityHead(random.normal(0, 0.1, (WIDTH, 4)).astype(np.float32), np.zeros(4, np.float32))
    assert agree(small_dlib_resnet(), head, chips, features) < 1e-4
    with pytest.raises(OperatorError, match="disagrees with the features"):
        agree(small_dlib_resnet(), head, chips, features[::-1])


def test_faces_of_one_photo_of_like_names_and_of_like_embeddings_are_one_person() -> None:
    names = ["ann-1.jpg", "ann-partial-2.jpg", "bob-1.jpg", "crowd.jpg", "crowd.jpg", "eve-1.jpg"]
    embeddings = np.eye(6, dtype=np.float32)
    assert persons([made_face(name) for name in names], embeddings).tolist() == [0, 0, 1, 2, 2, 3]
    # Bob is in the crowd, and Eve looks like the other one in it.
    embeddings[3] = embeddings[2]
    embeddings[5] = embeddings[4] * 0.9
    assert persons([made_face(name) for name in names], embeddings).tolist() == [0, 0, 1, 1, 1, 1]


def test_parts_are_of_like_size_and_never_share_a_person() -> None:
    people = np.repeat(np.arange(30), np.random.default_rng(2).integers(1, 9, 30))
    parts = folds(people, 7)
    sizes = np.bincount(parts, minlength=FOLDS)
    assert sizes.max() - sizes.min() <= 2
    assert all(len(set(parts[people == person])) == 1 for person in range(30))
    assert folds(people, 8).tolist() != parts.tolist()


def test_no_face_is_judged_by_a_head_that_was_fitted_to_its_person(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 20
    faces = [made_face(f"{number}.jpg") for number in range(count)]
    parts = folds(np.arange(count), 1)
    marks = np.eye(count, dtype=np.float32)  # each face's features name it
    owners = np.repeat(np.arange(count), len(KINDS))
    fitted: list[set[int]] = []

    def record(samples: QualitySamples) -> QualityHead:
        fitted.append(set(np.flatnonzero(samples.features.any(0)).tolist()))
        assert set(samples.faces.tolist()) == fitted[-1]
        # Whatever it was fitted to it calls blurred.
        weights = np.zeros((count, 4), np.float32)
        weights[list(fitted[-1]), 1] = 9
        return QualityHead(weights, np.array([1, 0, 0, 0], np.float32))

    monkeypatch.setattr(face_quality, "fit_head", record)
    samples = QualitySamples(marks[owners], np.tile(np.arange(len(KINDS)), count), owners)
    told = held_out(samples, marks, faces, parts)
    assert fitted == [set(np.flatnonzero(parts != part).tolist()) for part in range(FOLDS)]
    assert told["photographed"]["trained_on"]["said"] == {"clear": count, "blur": 0, "cover": 0, "pose": 0}
    assert told["made"]["recall"] == {"clear": 1, "blur": 0, "cover": 0, "pose": 0}


def test_figures_count_what_is_said_of_each_kind_and_each_face() -> None:
    names = list(KINDS)
    kinds = np.array([names.index(name) for name in ("as photographed", "soft", "soft", "mask", "yaw 20°")])
    told = of_samples(np.eye(4, dtype=np.float32)[[0, 1, 0, 2, 3]], kinds)
    assert (told["samples"], told["accuracy"]) == (4, 0.75)
    assert told["confusion"]["counts"] == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    assert told["kinds"]["soft"] == {"shall_be": "blur", "said": {"clear": 0.5, "blur": 0.5, "cover": 0, "pose": 0}}
    assert told["kinds"]["yaw 20°"]["said"]["pose"] == 1
    real = of_photographed(np.eye(4, dtype=np.float32)[[0, 2]], [made_face("a.jpg"), made_face("b.jpg")])
    assert real["not_clear"] == [{"photo": "b.jpg", "box": [92, 80, 208, 230], "said": "cover", "probability": 1}]
