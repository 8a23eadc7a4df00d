"""Configurations for a GPU: valid by Triton's schema, true to the model, and apart from those for a CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
from tritonclient.grpc import model_config_pb2

from app.catalogue.configs import model_config, read_config, write_config
from app.catalogue.gpu import ENGINE_CACHE
from app.catalogue.layout import CONFIG_FILES, Target
from app.catalogue.models import DEFAULT_MODELS, Model
from app.catalogue.roles import ANY, Role
from app.catalogue.verify import verify

each_model = pytest.mark.parametrize("model", DEFAULT_MODELS, ids=lambda model: model.role)


def accelerator(model: Model) -> dict[str, str]:
    config = model_config(model, Target.GPU)
    [found] = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert found.name == "tensorrt"
    return dict(found.parameters)


def shapes(model: Model) -> list[list[int]]:
    """The least, usual and largest shape of the profile."""
    parameters = accelerator(model)
    found = []
    for which in ("min", "opt", "max"):
        name, shape = parameters[f"trt_profile_{which}_shapes"].split(":")
        assert name == model.inputs[0].name
        found.append([int(side) for side in shape.split("x")])
    return found


@each_model
def test_a_written_configuration_reads_back_the_same_beside_that_for_a_cpu(model: Model, tmp_path: Path) -> None:
    for target in Target:
        write_config(tmp_path, model, target)
    for target in Target:
        assert read_config(tmp_path / CONFIG_FILES[target]) == model_config(model, target)
    assert model_config(model, Target.GPU) != model_config(model)


@each_model
def test_what_callers_know_of_the_model_is_as_on_a_cpu(model: Model) -> None:
    fitted, config = model_config(model, Target.GPU), model_config(model)
    for field in ("instance_group", "dynamic_batching", "optimization", "model_warmup"):
        fitted.ClearField(field)
        config.ClearField(field)
    assert fitted == config


@each_model
def test_instances_are_on_gpus_and_the_preferred_batch_is_one_that_the_model_takes(model: Model) -> None:
    config = model_config(model, Target.GPU)
    assert [group.kind for group in config.instance_group] == [model_config_pb2.ModelInstanceGroup.KIND_GPU]
    [preferred] = config.dynamic_batching.preferred_batch_size
    assert 1 < preferred <= config.max_batch_size
    assert 0 < config.dynamic_batching.max_queue_delay_microseconds <= 1000
    assert config.optimization.input_pinned_memory.enable
    assert config.optimization.output_pinned_memory.enable


@each_model
def test_the_profile_of_the_engine_spans_every_shape_that_the_service_sends(model: Model) -> None:
    least, usual, most = shapes(model)
    assert all(low <= middle <= high for low, middle, high in zip(least, usual, most, strict=True))
    assert (least[0], most[0]) == (1, model.max_batch)
    for side, low, high in zip(model.inputs[0].dims, least[1:], most[1:], strict=True):
        assert (low, high) == (side, side) if side != ANY else low < high
    if model.role is Role.FACE_DETECTOR:
        step, long_side = (int(model.parameters[name]) for name in ("input_multiple", "input_long_side"))
        assert (least[1:3], most[1:3]) == ([step, step], [long_side, long_side])


@each_model
def test_the_warm_up_stays_inside_the_profile(model: Model) -> None:
    config = model_config(model, Target.GPU)
    least, _, most = shapes(model)
    assert [warmup.batch_size for warmup in config.model_warmup][::2] == [1, model.max_batch]
    for warmup in config.model_warmup:
        tensor = warmup.inputs[model.inputs[0].name]
        assert tensor.data_type == config.input[0].data_type
        shape = [warmup.batch_size, *tensor.dims]
        assert all(low <= side <= high for low, side, high in zip(least, shape, most, strict=True))


@each_model
def test_engines_are_kept_and_rows_of_half_precision_only_where_nothing_moves(model: Model) -> None:
    parameters = accelerator(model)
    assert (parameters["trt_engine_cache_enable"], parameters["trt_engine_cache_path"]) == ("1", ENGINE_CACHE)
    half = model.role in (Role.FACE_QUALITY, Role.FACE_EMBEDDER)
    assert parameters["precision_mode"] == ("FP16" if half else "FP32")


def test_verify_knows_the_target(tmp_path: Path) -> None:
    [model, *_] = DEFAULT_MODELS
    folder = tmp_path / model.role

    def config_findings(target: Target) -> list[str]:
        return [
            finding.sentence for finding in verify(tmp_path, [model], target) if "model file" not in finding.sentence
        ]

    write_config(folder, model)
    remedy = "run `likeness models build --force --target gpu`"
    assert config_findings(Target.CPU) == []
    assert config_findings(Target.GPU) == [f"face_detector has no configs/gpu.pbtxt: {remedy}."]
    write_config(folder, model, Target.GPU)
    assert config_findings(Target.GPU) == []
    path = folder / CONFIG_FILES[Target.GPU]
    path.write_text(path.read_text(encoding="utf-8").replace("KIND_GPU", "KIND_CPU"), encoding="utf-8")
    differs = f"face_detector's configs/gpu.pbtxt differs from the catalogue: {remedy}, or keep it if meant."
    assert config_findings(Target.CPU) == config_findings(Target.GPU) == [differs]
