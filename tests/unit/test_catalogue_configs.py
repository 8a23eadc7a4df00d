"""Triton's model configurations: what is committed is what the code says, and it fits a machine."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tritonclient.grpc import model_config_pb2

from app.catalogue.configs import (
    BATCH_PIXELS,
    CORES,
    ECHO,
    GATHER_MS,
    RUN_VALUES,
    machine_config,
    model_config,
    read_config,
    to_text,
    write_config,
)
from app.catalogue.models import (
    CENTERFACE_LDA_CALIBRATION,
    DEFAULT_MODELS,
    DETECTOR,
    FACE_EMBEDDER,
    FACE_QUALITY,
    IMAGE_EMBEDDER,
    Model,
)
from app.catalogue.roles import Role

REPOSITORY = Path(__file__).parents[2] / "model_repository"
each_model = pytest.mark.parametrize("model", DEFAULT_MODELS, ids=lambda model: model.role)


@each_model
def test_the_committed_configuration_is_the_one_that_the_code_writes(model: Model) -> None:
    path = REPOSITORY / model.role / "config.pbtxt"
    assert read_config(path) == model_config(model)
    assert path.read_text(encoding="utf-8") == to_text(model_config(model))


@each_model
def test_a_written_configuration_reads_back_the_same(model: Model, tmp_path: Path) -> None:
    write_config(tmp_path / "folder", model)
    assert read_config(tmp_path / "folder" / "config.pbtxt") == model_config(model)


@each_model
def test_tensors_have_the_models_names_types_and_dims(model: Model) -> None:
    config = model_config(model)
    for fields, tensors in ((config.input, model.inputs), (config.output, model.outputs)):
        assert [(field.name, tuple(field.dims)) for field in fields] == [(item.name, item.dims) for item in tensors]
    assert {field.data_type for field in config.input} == {model_config_pb2.TYPE_UINT8}
    assert {field.data_type for field in config.output} == {model_config_pb2.TYPE_FP32}


@each_model
def test_triton_may_batch_and_runs_the_newest_version_on_one_thread(model: Model) -> None:
    config = model_config(model)
    assert config.backend == "onnxruntime"
    assert config.HasField("dynamic_batching")
    assert config.max_batch_size == model.max_batch > 1
    assert config.version_policy.latest.num_versions == 1
    assert [(group.kind, group.count) for group in config.instance_group] == [
        (model_config_pb2.ModelInstanceGroup.KIND_CPU, 1)
    ]
    assert config.parameters["intra_op_thread_count"].string_value == "1"


@each_model
def test_parameters_say_what_the_model_is_and_where_it_is_from(model: Model) -> None:
    parameters = {key: value.string_value for key, value in model_config(model).parameters.items()}
    assert parameters["model_id"] == model.model_id
    assert parameters["licence"] == model.licence
    assert parameters["weights_sha256"] == model.weights_sha256
    assert parameters["source"] == model.origin
    assert "" not in parameters.values()


def test_the_detectors_long_side_is_a_multiple_of_its_step() -> None:
    assert int(DETECTOR.parameters["input_long_side"]) % int(DETECTOR.parameters["input_multiple"]) == 0


@pytest.mark.parametrize("model", [FACE_QUALITY, FACE_EMBEDDER], ids=lambda model: model.role)
def test_the_alignment_template_is_five_points_inside_the_chip_right_eye_first(model: Model) -> None:
    points = json.loads(model.parameters["alignment_template"])
    size = float(model.parameters["input_size"])
    assert [len(point) for point in points] == [2] * 5
    assert all(0 < value < size for point in points for value in point)
    right_eye, left_eye, nose, right_mouth, left_mouth = points
    assert right_eye[0] < nose[0] < left_eye[0]  # the person's right is the image's left
    assert right_mouth[0] < left_mouth[0]
    assert right_eye[1] < nose[1] < right_mouth[1]


def test_the_face_threshold_of_the_interface_lies_at_its_calibrated_distance() -> None:
    fields = json.loads(FACE_EMBEDDER.parameters["calibration"])
    score = 1 / (1 + math.exp(-(fields["slope"] * (fields["midpoint"] - 0.55) + fields["offset"])))
    assert fields["kind"] == "sigmoid"
    assert score == pytest.approx(0.45, abs=1e-3)


def test_the_image_threshold_of_the_interface_lies_at_its_calibrated_cosine() -> None:
    fields = json.loads(IMAGE_EMBEDDER.parameters["calibration"])
    assert fields == CENTERFACE_LDA_CALIBRATION
    assert ((0.471 - fields["floor"]) / (1 - fields["floor"])) ** fields["exponent"] == pytest.approx(0.3, abs=2e-3)


@pytest.mark.parametrize(
    ("cores", "detectors", "embedders"),
    [(1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 4, 2), (8, 8, 4), (16, 16, 8), (64, 16, 8)],
)
def test_instances_follow_the_cores(cores: int, detectors: int, embedders: int) -> None:
    counts = {
        model.role.value: machine_config(model_config(model), cores).instance_group[0].count for model in DEFAULT_MODELS
    }
    assert counts == {
        "face_detector": detectors, "face_quality": embedders, "face_embedder": embedders, "image_embedder": detectors,
    }  # fmt: skip


def test_fitting_to_a_machine_leaves_the_given_configuration_as_it_was() -> None:
    config = model_config(DETECTOR)
    fitted = machine_config(config, 4)
    assert config == model_config(DETECTOR)
    fitted.instance_group[0].count = 1
    fitted.max_batch_size = config.max_batch_size
    for name in (BATCH_PIXELS, RUN_VALUES, CORES, GATHER_MS):
        del fitted.parameters[name]
    assert fitted.output.pop().name == ECHO
    assert fitted == config


def test_without_an_accelerator_calls_are_shared_and_large_items_computed_one_by_one() -> None:
    configs = {model.role: machine_config(model_config(model), 8) for model in DEFAULT_MODELS}
    assert {role: config.max_batch_size for role, config in configs.items()} == {
        Role.FACE_DETECTOR: 8, Role.FACE_QUALITY: 16, Role.FACE_EMBEDDER: 16, Role.IMAGE_EMBEDDER: 4,
    }  # fmt: skip
    detector = configs[Role.FACE_DETECTOR].parameters
    pixels, values = (int(detector[name].string_value) for name in (BATCH_PIXELS, RUN_VALUES))
    assert 2 <= pixels / (640 * 480) < 3
    assert 1 <= values / (640 * 480 * 3) < 2
    assert values >= 8 * 192 * 192 * 3  # close-ups of faces
    assert {config.parameters[CORES].string_value for config in configs.values()} == {"8"}
    assert RUN_VALUES not in configs[Role.FACE_EMBEDDER].parameters
