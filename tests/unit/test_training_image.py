"""Training the image descriptor from end to end, on drawings and a small network."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.catalogue.image_descriptor import build_features
from app.catalogue.models import IMAGE_EMBEDDER
from app.catalogue.projection import Projection
from app.cli import main
from app.errors import OperatorError
from app.training import image_descriptor, samples
from app.training.features import ImageRunner
from app.training.image_descriptor import agree, held_out, train_image
from app.training.photos import Photo
from app.training.samples import FOLDS, Floats, Training, Trial, folds
from app.training.variants import VARIANTS
from tests.pictures import drawing, encoded
from tests.small_centerface import small_centerface, small_source

TWO_VARIANTS = dict(list(VARIANTS.items())[:2])


def first_samples(features: Floats, classes: np.ndarray, dimensions: int) -> Projection:
    """In place of the analysis, which takes seconds: of every training sample, in its order."""
    centred = features - features.mean(0)
    directions = centred.T @ np.random.default_rng(len(classes)).normal(0, 1, (len(centred), dimensions))
    return Projection(features.mean(0), directions.astype(np.float16).astype(np.float32))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Few copies of small drawings; returns the folder that holds them."""
    monkeypatch.setattr(image_descriptor, "CENTERFACE", small_source(tmp_path / "cache"))
    monkeypatch.setattr(image_descriptor, "fit", first_samples)
    few = {"PHOTO_COPIES": 2, "REGIONS": 1, "REGION_COPIES": 1, "DISTRACTORS": 1, "DRAWINGS": 4, "TRAINING_DRAWINGS": 2}
    for name, value in few.items():
        monkeypatch.setattr(samples, name, value)
    monkeypatch.setattr(samples, "VARIANTS", TWO_VARIANTS)
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in range(20):
        (folder / f"{seed:02}.png").write_bytes(encoded(drawing(seed, size=(160, 120)), "PNG"))
    return folder


def train(photos: Path, output: Path, *, seed: int = 7) -> dict[str, Any]:
    train_image([photos], output, photos.parent / "cache", seed=seed, say=lambda _: None)
    told: dict[str, Any] = json.loads((output / "image_projection.json").read_text(encoding="utf-8"))
    return told


def test_training_writes_the_projection_and_where_it_is_from(quick: Path, tmp_path: Path) -> None:
    told = train(quick, tmp_path / "out")
    content = (tmp_path / "out" / "image_projection.npz").read_bytes()
    assert told["sha256"] == hashlib.sha256(content).hexdigest()
    assert Projection.from_bytes(content).directions.shape == (1824, 384)
    assert told["command"] == "likeness models train-image PHOTOS --seed 7"
    assert told["photos"]["03.png"] == hashlib.sha256((quick / "03.png").read_bytes()).hexdigest()
    assert told["evaluation"]["photos"] == len(told["photos"]) == 20
    assert set(told["evaluation"]["variants"]) == set(TWO_VARIANTS)
    assert str(tmp_path) not in json.dumps(told)


def test_the_same_photos_and_seed_give_the_same_files_and_another_seed_others(quick: Path, tmp_path: Path) -> None:
    one, again, other = (train(quick, tmp_path / name, seed=seed) for name, seed in (("1", 7), ("2", 7), ("3", 8)))
    assert one == again
    assert one["sha256"] != other["sha256"]


def test_too_few_photos_are_refused(quick: Path, tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="1 usable photos are too few"):
        train_image([quick / "01.png"], tmp_path / "out", tmp_path / "cache", seed=7, say=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_a_photo_that_is_missing_is_an_error_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "train-image", "no-such-photo.jpg"]) == 1
    assert "no-such-photo.jpg cannot be read" in capsys.readouterr().err


def test_without_onnx_runtime_the_command_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(OperatorError, match="needs the package onnxruntime"):
        ImageRunner(small_centerface(), 256)


def test_features_that_are_of_other_photos_than_the_graph_sees_are_found() -> None:
    photos = [Photo(f"{seed}", "", drawing(seed)) for seed in range(3)]
    graph = build_features(small_centerface(), IMAGE_EMBEDDER.inputs)
    runner = ImageRunner(graph, 256)
    features = runner.run([runner.pixels(photo.image) for photo in photos])
    projection = first_samples(features, np.arange(3), 384)
    assert agree(small_centerface(), projection, photos, features) > 0.999
    with pytest.raises(OperatorError, match="disagrees with the features"):
        agree(small_centerface(), projection, photos, features[::-1])


def test_no_photo_is_judged_by_a_projection_that_was_fitted_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    count = 20
    random = np.random.default_rng(9)
    owners = np.repeat(np.arange(count), 3)
    marks = np.eye(count, dtype=np.float32)  # each photo's features name it
    fitted: list[set[int]] = []

    def record(features: Floats, classes: np.ndarray, dimensions: int) -> Projection:
        fitted.append(set(np.flatnonzero(features.any(0)).tolist()))
        assert sorted(set(classes.tolist())) == list(range(len(fitted[-1])))
        return Projection(np.full(count, -0.1, np.float32), np.eye(count, dtype=np.float32))

    monkeypatch.setattr(image_descriptor, "fit", record)
    trial = Trial(marks, marks, np.arange(count), random.random((4, count), dtype=np.float32), {"same": marks})
    parts = folds(count, 1)
    told = held_out(Training(marks[owners], owners, owners), trial, parts)
    assert told["photos"] == count
    assert fitted == [set(np.flatnonzero(parts != part).tolist()) for part in range(FOLDS)]
    assert sorted(np.bincount(parts).tolist()) == [4] * FOLDS
