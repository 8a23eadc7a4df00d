"""What the service reads from the model repository through Triton's configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from app.catalogue.configs import read_config
from app.catalogue.layout import CONFIG_FILE
from app.catalogue.roles import Role
from app.errors import BackendUnavailable
from app.inference.models import DetectorSpec, EmbedderSpec, detector_spec, embedder_spec, quality_spec
from app.services.rows import embedding_space
from app.store.records import EmbeddingSpace, Metric
from app.vision.calibration import PowerOfCosine, SigmoidOfDistance, calibration

REPOSITORY = Path(__file__).resolve().parents[2] / "model_repository"


def config(role: Role) -> dict[str, Any]:
    """The committed configuration in the form in which Triton tells it."""
    message = read_config(REPOSITORY / role / CONFIG_FILE)
    told: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return told


def test_the_detector_tells_its_input_and_its_thresholds() -> None:
    spec = detector_spec("face_detector", config(Role.FACE_DETECTOR))
    assert spec == DetectorSpec(
        model_id="centerface", max_batch=8, instances=1,
        input_long_side=640, input_multiple=32, score_threshold=0.5, nms_iou=0.3,
    )  # fmt: skip


def test_the_face_embedder_tells_its_template_and_its_calibration() -> None:
    spec = embedder_spec("face_embedder", config(Role.FACE_EMBEDDER))
    assert (spec.input_size, spec.dimension, spec.metric) == (150, 128, "L2")
    assert len(spec.alignment_template) == 5
    assert spec.alignment_template[0] == pytest.approx((47.55, 46.60), abs=0.01)
    assert calibration(spec.calibration) == SigmoidOfDistance(slope=14, midpoint=0.55, offset=-0.2007)


def test_the_quality_model_tells_its_template_which_is_the_face_embedders_and_its_rules() -> None:
    spec = quality_spec("face_quality", config(Role.FACE_QUALITY))
    assert (spec.model_id, spec.max_batch, spec.instances) == ("dlib-relu-quality-1", 32, 1)
    embedder = embedder_spec("face_embedder", config(Role.FACE_EMBEDDER))
    assert (spec.input_size, spec.alignment_template) == (embedder.input_size, embedder.alignment_template)
    assert (spec.small_side, spec.pose_yaw, spec.pose_pitch) == (40, 0.3, 0.2)


def test_the_image_embedder_tells_its_calibration_and_has_no_template() -> None:
    spec = embedder_spec("image_embedder", config(Role.IMAGE_EMBEDDER))
    assert isinstance(spec, EmbedderSpec)
    assert (spec.input_size, spec.dimension, spec.metric) == (256, 384, "COSINE")
    assert embedding_space(spec) == EmbeddingSpace("centerface-lda-384", 384, Metric.COSINE)
    assert spec.alignment_template == ()
    assert isinstance(calibration(spec.calibration), PowerOfCosine)


def test_a_model_that_does_not_describe_itself_is_refused_with_a_sentence() -> None:
    told = config(Role.FACE_EMBEDDER)
    del told["parameters"]["calibration"]
    with pytest.raises(BackendUnavailable, match="face_embedder does not say its calibration"):
        embedder_spec("face_embedder", told)
    told = config(Role.FACE_QUALITY)
    del told["parameters"]["pose_yaw"]
    with pytest.raises(BackendUnavailable, match="face_quality does not say its pose_yaw"):
        quality_spec("face_quality", told)
