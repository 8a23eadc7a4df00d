"""Trains the face quality model's head, judges it on persons held out, and writes it with its provenance."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from app.catalogue.build import convert
from app.catalogue.dlib_file import Network, read_network
from app.catalogue.dlib_resnet import build_face_embedder
from app.catalogue.download import weights
from app.catalogue.face_quality import WIDTH, build_face_quality, build_features
from app.catalogue.models import DETECTOR, FACE_EMBEDDER, FACE_QUALITY, QUALITY_RULES
from app.catalogue.quality_head import HEAD_NAME, HEAD_PROVENANCE_NAME, QualityHead
from app.catalogue.roles import QualityClass
from app.errors import OperatorError
from app.training.faces import TrainingFace, find_faces, persons
from app.training.features import GraphRunner
from app.training.photos import read_photos
from app.training.provenance import versions, write
from app.training.quality_evaluation import labels, of_photographed, of_samples
from app.training.quality_samples import FOLDS, KINDS, QualitySamples, folds, gather
from app.training.softmax_regression import fit
from app.vision.quality import QualityRules, is_turned, turn

LONG_SIDE: Final = 1600
"""Pixels to which larger photos are scaled: faces in groups keep their detail."""

TRAINED_SIDE: Final = 50
"""Pixels of a box's shorter side from which samples are made of a face; smaller ones are judged only."""

FEWEST_FACES: Final = 20
FEWEST_PERSONS: Final = 10

PENALTY: Final = 0.1
"""On the squared coefficients of features brought to deviation 1."""

CLEAR_MARGIN: Final = 0.5
"""Added to the logarithmic odds of clear: most faces are, and nobody likes a good photo to be refused."""

LARGEST_DIFFERENCE: Final = 0.01
"""Of a probability that the exported graph gives from one computed from the kept features: more is a fault."""

Say = Callable[[str], None]


def train_quality(paths: Sequence[Path], output: Path, cache: Path, *, seed: int, say: Say) -> None:
    """Trains on photos of people and writes ``face_quality_head.npz`` and ``face_quality_head.json``.

    The figures are of persons that the judged head was not trained on: persons are split in five, each
    part is judged by a head of the other four. The head that is written is then fitted to all faces.

    Args:
        paths: photos, and folders of them.
        output: folder to write to.
        cache: folder of fetched weight files.
        seed: decides the split and all samples.
        say: takes one line of progress at a time.

    Raises:
        OperatorError: too few faces or persons, ONNX Runtime is missing, a file cannot be read or
            written, or the exported graph disagrees with the features that were trained on.
    """
    photos = read_photos(paths, say=say, long_side=LONG_SIDE)
    faces = find_faces(photos, _detector(cache, say), say)
    taken = [number for number, face in enumerate(faces) if _is_good(face)]
    if len(taken) < FEWEST_FACES:
        raise OperatorError(
            f"{len(taken)} usable faces are too few to train on: name photos of {FEWEST_FACES} or more."
        )
    network = read_network(weights(FACE_QUALITY.source, cache, say=say))
    chips = [face.chip for face in faces]
    embedder = build_face_embedder(network, FACE_EMBEDDER.inputs, FACE_EMBEDDER.outputs, about={})
    people = persons(faces, GraphRunner(embedder).run(chips))
    count = len(np.unique(people[taken]))
    if count < FEWEST_PERSONS:
        raise OperatorError(
            f"{count} persons are too few to train on: name photos of {FEWEST_PERSONS} or more. Faces on one photo, of "
            "files named alike (ann-1.jpg, ann-2.jpg) or that look alike count as one person."
        )
    parts = folds(people, seed)
    runner = GraphRunner(build_features(network, FACE_QUALITY.inputs))
    samples = gather(faces, taken, parts, runner, seed=seed, say=say)
    photographed = runner.run(chips)
    say(f"judging on {FOLDS} parts held out")
    evaluation = held_out(samples, photographed, faces, parts)
    say(f"fitting to {len(samples.kinds)} samples of {len(taken)} faces of {count} persons")
    head = fit_head(samples)
    difference = agree(network, head, chips, photographed)
    content = head.to_bytes()
    provenance = {
        "file": HEAD_NAME,
        "sha256": hashlib.sha256(content).hexdigest(),
        "command": f"likeness models train-quality PHOTOS --seed {seed}",
        "seed": seed,
        "trained_on": "all frontal faces of 50 pixels or more on the photos listed here, after the evaluation",
        "evaluated_on": f"persons held out: {FOLDS} parts, each judged by a head of the other {FOLDS - 1}",
        "method": {
            "features": WIDTH,
            "penalty": PENALTY,
            "class_weights": "each class counts the same",
            "clear_margin": CLEAR_MARGIN,
            "samples_of_each_face": {name: kind.count for name, kind in KINDS.items()},
        },
        "faces": len(taken),
        "persons": count,
        "persons_are": "faces on one photo, of files named alike or of near embeddings count as one person",
        "graph_difference": float(f"{difference:.1g}"),
        "evaluation": evaluation,
        "landmarks": _turns([faces[number] for number in taken]),
        "weights": {"source": str(FACE_QUALITY.source), "sha256": FACE_QUALITY.source.member_sha256},
        "made_with": versions(),
        "photos": {photo.name: photo.sha256 for photo in photos},
    }
    write(output / HEAD_NAME, content, output / HEAD_PROVENANCE_NAME, provenance)
    made, real = evaluation["made"], evaluation["photographed"]["trained_on"]
    say(f"accuracy {made['accuracy']}, {real['said']['clear']} of {real['faces']} untouched faces called clear")
    say(f"{output / HEAD_NAME} is written ({len(content) / 1e3:.1f} kB, sha256 {provenance['sha256']})")


def _detector(cache: Path, say: Say) -> GraphRunner:
    return GraphRunner(convert(DETECTOR, weights(DETECTOR.source, cache, say=say)))


def fit_head(samples: QualitySamples) -> QualityHead:
    """A head of these samples, each class counting the same, then leaning towards clear by a margin."""
    wanted = labels(samples.kinds)
    judged = wanted >= 0
    classes = wanted[judged]
    head = fit(samples.features[judged], classes, 1 / np.bincount(classes)[classes], PENALTY)
    margin = np.asarray([CLEAR_MARGIN * (one is QualityClass.CLEAR) for one in QualityClass], np.float32)
    return replace(head, bias=head.bias + margin)


def held_out(
    samples: QualitySamples,
    photographed: NDArray[np.float32],
    faces: Sequence[TrainingFace],
    parts: NDArray[np.int64],
) -> dict[str, Any]:
    """The figures of heads on faces of persons that they were not fitted to.

    Args:
        samples: of all faces.
        photographed: FP32 [faces,F], features of the faces as they are.
        faces: all of them.
        parts: INT64 [faces], the part of each.
    """
    classes = FACE_QUALITY.outputs[0].dims[0]
    of_made = np.zeros((len(samples.kinds), classes), np.float32)
    of_real = np.zeros((len(faces), classes), np.float32)
    for part in range(FOLDS):
        inside = parts == part
        head = fit_head(samples.only(~inside))
        of_made[inside[samples.faces]] = head(samples.only(inside).features)
        of_real[inside] = head(photographed[inside])
    return {
        "made": of_samples(of_made, samples.kinds),
        "photographed": {
            name: of_photographed(of_real[chosen], [face for face, one in zip(faces, chosen, strict=True) if one])
            for name, chosen in _sorts(faces).items()
        },
    }


def _sorts(faces: Sequence[TrainingFace]) -> dict[str, NDArray[np.bool_]]:
    """Which faces are of each sort, BOOL [faces]."""
    good, turned = (np.asarray([sort(face) for face in faces]) for sort in (_is_good, _is_turned))
    return {"trained_on": good, "turned_by_landmarks": turned, "too_small_to_train_on": ~good & ~turned}


def _is_good(face: TrainingFace) -> bool:
    return face.side >= TRAINED_SIDE and not _is_turned(face)


def _is_turned(face: TrainingFace) -> bool:
    rules = QualityRules(**{name: float(value) for name, value in QUALITY_RULES.items()})
    return is_turned(turn(face.found.landmarks), rules)


def agree(
    network: Network,
    head: QualityHead,
    chips: Sequence[NDArray[np.uint8]],
    features: NDArray[np.float32],
) -> float:
    """The largest difference between the exported graph's probabilities and those of the kept features.

    Raises:
        OperatorError: it is over 0.01: features and chips were paired wrongly, or the graph is wrong.
    """
    model = build_face_quality(network, head, FACE_QUALITY.inputs, FACE_QUALITY.outputs, about={})
    largest = float(np.abs(GraphRunner(model).run(chips) - head(features)).max())
    if not largest <= LARGEST_DIFFERENCE:
        raise OperatorError(
            f"The exported graph disagrees with the features trained on (by {largest:.4f}): nothing is written."
        )
    return largest


def _turns(faces: Sequence[TrainingFace]) -> dict[str, Any]:
    """How far the photographed heads are turned by their landmarks: what the rule's thresholds are chosen by."""
    turns = [turn(face.found.landmarks) for face in faces]
    shares = (0.5, 0.9, 0.97, 1.0)
    figures = {
        "absolute_yaw": np.abs([one.yaw for one in turns]),
        "absolute_pitch": np.abs([one.pitch for one in turns]),
    }
    return {
        name: {f"quantile_{share}": round(float(np.quantile(values, share)), 3) for share in shares}
        for name, values in figures.items()
    }
