"""Trains the image descriptor's projection, judges it on photos held out, and writes it with its provenance."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray

from app.catalogue.download import weights
from app.catalogue.image_descriptor import SIDE, WIDTH, build_features, build_image_embedder
from app.catalogue.models import CENTERFACE_LDA_CALIBRATION, IMAGE_EMBEDDER
from app.catalogue.projection import PROJECTION_NAME, PROVENANCE_NAME, Projection
from app.catalogue.sources import CENTERFACE
from app.errors import OperatorError
from app.training.discriminant import SHRINKAGE, fit
from app.training.evaluation import judge, summary
from app.training.features import ImageRunner
from app.training.photos import Photo, read_photos
from app.training.provenance import versions, write
from app.training.samples import (
    DRAWINGS,
    FOLDS,
    TRAINING_DRAWINGS,
    Training,
    Trial,
    folds,
    gather_training,
    gather_trial,
)
from app.vision.calibration import calibration

THRESHOLD: Final = 0.3
"""The recommended threshold of image search."""

FEWEST_PHOTOS: Final = 20
LEAST_AGREEMENT: Final = 0.99
"""Cosine of the exported graph's embedding and the one computed from the kept features: less is a fault."""

Say = Callable[[str], None]


def train_image(paths: Sequence[Path], output: Path, cache: Path, *, seed: int, say: Say) -> None:
    """Trains on photos and writes ``image_projection.npz`` and ``image_projection.json``.

    The figures are of photos that the judged projection was not trained on: the photos are split in
    five, each part is judged by a projection of the other four. The projection that is written is
    then fitted to all photos.

    Args:
        paths: photos, and folders of them.
        output: folder to write to.
        cache: folder of fetched weight files.
        seed: decides the split and all copies.
        say: takes one line of progress at a time.

    Raises:
        OperatorError: too few photos, ONNX Runtime is missing, a file cannot be read or written, or
            the exported graph disagrees with the features that were trained on.
    """
    photos = read_photos(paths, say=say)
    if len(photos) < FEWEST_PHOTOS:
        raise OperatorError(f"{len(photos)} usable photos are too few to train on: name at least {FEWEST_PHOTOS}.")
    source = onnx.load_model_from_string(weights(CENTERFACE, cache, say=say))
    runner = ImageRunner(build_features(source, IMAGE_EMBEDDER.inputs), SIDE)
    training = gather_training(photos, runner, seed, say)
    trial = gather_trial(photos, runner, seed, say)
    say(f"judging on {FOLDS} parts held out")
    evaluation = held_out(training, trial, folds(len(photos), seed))
    pictures = int(training.classes.max()) + 1
    say(f"fitting to {len(training.classes)} copies of {pictures} pictures of {len(photos)} photos and of drawings")
    projection = fit(training.features, training.classes, _dimensions())
    agreement = agree(source, projection, photos, trial.originals)
    content = projection.to_bytes()
    provenance = {
        "file": PROJECTION_NAME,
        "sha256": hashlib.sha256(content).hexdigest(),
        "command": f"likeness models train-image PHOTOS --seed {seed}",
        "seed": seed,
        "trained_on": f"all photos listed here, after the evaluation, and {TRAINING_DRAWINGS} drawn pictures",
        "evaluated_on": f"photos held out: {FOLDS} parts, each judged by a projection of the other {FOLDS - 1}",
        "distractors": f"other photos, regions of other photos, {DRAWINGS} drawn pictures that were not trained on",
        "method": {"features": WIDTH, "dimensions": _dimensions(), "within_class_shrinkage": SHRINKAGE},
        "copies": len(training.classes),
        "pictures": pictures,
        "graph_agreement": round(agreement, 6),
        "evaluation": evaluation,
        "weights": {"source": str(CENTERFACE), "sha256": CENTERFACE.member_sha256},
        "made_with": versions(),
        "photos": {photo.name: photo.sha256 for photo in photos},
    }
    write(output / PROJECTION_NAME, content, output / PROVENANCE_NAME, provenance)
    say(f"recall@1 {evaluation['mean_recall_at_1']}, over the threshold {evaluation['mean_over_threshold']}")
    say(f"{output / PROJECTION_NAME} is written ({len(content) / 1e6:.2f} MB, sha256 {provenance['sha256']})")


def held_out(training: Training, trial: Trial, parts: NDArray[np.int64]) -> dict[str, Any]:
    """The figures of projections on photos that they were not fitted to.

    Args:
        training: of all photos.
        trial: of all photos.
        parts: INT64 [P], the part of each photo.
    """
    outcomes = []
    for part in range(FOLDS):
        inside = training.only(parts != part)
        projection = fit(inside.features, inside.classes, _dimensions())
        outcomes.append(judge(trial.only(parts == part).through(projection)))
    return summary(outcomes, calibration(CENTERFACE_LDA_CALIBRATION).bound(THRESHOLD))


def agree(source: onnx.ModelProto, projection: Projection, photos: Sequence[Photo], originals: NDArray[Any]) -> float:
    """The least cosine of the exported graph's embedding of a photo and that of its kept features.

    Raises:
        OperatorError: it is below 0.99: features and pictures were paired wrongly, or the graph is wrong.
    """
    model = build_image_embedder(source, projection, IMAGE_EMBEDDER.inputs, IMAGE_EMBEDDER.outputs, about={})
    runner = ImageRunner(model, SIDE)
    embedded = runner.run([runner.pixels(photo.image) for photo in photos])
    least = float((embedded * projection(originals)).sum(1).min())
    if not least >= LEAST_AGREEMENT:
        raise OperatorError(
            f"The exported graph disagrees with the features trained on (cosine {least:.4f}): nothing is written."
        )
    return least


def _dimensions() -> int:
    return IMAGE_EMBEDDER.outputs[0].dims[0]
