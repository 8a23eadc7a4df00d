"""Writes Triton's model configurations through its protobuf schema, so that a wrong field cannot be spelt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from app.catalogue.gpu import gpu_config
from app.catalogue.layout import CONFIG_FILES, Target
from app.catalogue.models import Model
from app.catalogue.roles import Datatype, Role, Tensor

DATA_TYPES: Final[Mapping[Datatype, int]] = {
    Datatype.UINT8: model_config_pb2.TYPE_UINT8,
    Datatype.FP32: model_config_pb2.TYPE_FP32,
}

# Read by Triton's onnxruntime backend (github.com/triton-inference-server/onnxruntime_backend,
# "Model Config Options"). One thread an instance: instances, not threads, fill the cores, because
# small convolutions share work badly.
THREADS: Final[Mapping[str, str]] = {
    "intra_op_thread_count": "1",
    "inter_op_thread_count": "1",
    "execution_mode": "0",
}


# Read by the service: how many pixels it sends in one call of several items, how many cores the models of the server
# share, and for how many milliseconds at most an item waits for company while all of them are busy.
BATCH_PIXELS: Final = "batch_pixels"
CORES: Final = "cores"
GATHER_MS: Final = "gather_ms"
# Read by our own backend: how many numbers of the first input it computes at once.
RUN_VALUES: Final = "run_values"
# A parameter of each call to the embedded Triton, and the output in which its backend gives it back: Triton's Python
# backend was seen to hand out an answer that came late, from a model process that had been stopped for a second, as
# that to the next call.
ECHO: Final = "ECHO"
_CHANNELS: Final = 3


@dataclass(frozen=True, slots=True)
class Fit:
    """How a model is fitted to a machine without an accelerator.

    Attributes:
        share: one instance for so many cores, at least one.
        most: instances at most; each holds its own working memory.
        batch: items in one call at most.
        pixels: pixels in one call of several items at most; 0: any number.
        run_pixels: pixels that are computed at once at most, but for larger items; 0: any number.
        gather_ms: for which an item waits for others at most while all cores are busy.
    """

    share: int
    most: int
    batch: int
    pixels: int = 0
    run_pixels: int = 0
    gather_ms: int = 0


# Detection is most of a face request's work and the image descriptor most of an image request's, so each may fill the
# machine. What a call takes by itself is about 3 ms of processor time, so items share calls. Large ones are computed
# one after the other all the same: together they take a little longer (their activations leave the caches) and 90 MB
# each. Longer calls would leave cores idle where few clients wait for their answers.
FITS: Final[Mapping[Role, Fit]] = {
    Role.FACE_DETECTOR: Fit(share=1, most=16, batch=8, pixels=2 * 640 * 640, run_pixels=640 * 640, gather_ms=400),
    Role.FACE_QUALITY: Fit(share=2, most=8, batch=16, gather_ms=400),
    Role.FACE_EMBEDDER: Fit(share=2, most=8, batch=16, gather_ms=400),
    Role.IMAGE_EMBEDDER: Fit(share=1, most=16, batch=4, run_pixels=256 * 256, gather_ms=400),
}


def model_config(model: Model, target: Target = Target.CPU) -> model_config_pb2.ModelConfig:
    """Makes the configuration that is kept beside the model in the repository."""
    config = _cpu_config(model)
    return gpu_config(config) if target is Target.GPU else config


def _cpu_config(model: Model) -> model_config_pb2.ModelConfig:
    config = model_config_pb2.ModelConfig(
        name=model.role.value,
        backend="onnxruntime",
        max_batch_size=model.max_batch,
        input=[model_config_pb2.ModelInput(**_fields(tensor)) for tensor in model.inputs],
        output=[model_config_pb2.ModelOutput(**_fields(tensor)) for tensor in model.outputs],
        version_policy=model_config_pb2.ModelVersionPolicy(
            latest=model_config_pb2.ModelVersionPolicy.Latest(num_versions=1)
        ),
        instance_group=[
            model_config_pb2.ModelInstanceGroup(kind=model_config_pb2.ModelInstanceGroup.KIND_CPU, count=1)
        ],
        dynamic_batching=model_config_pb2.ModelDynamicBatching(),
    )
    for key, value in {**THREADS, **model.facts, **model.parameters}.items():
        config.parameters[key].string_value = value
    return config


def _fields(tensor: Tensor) -> dict[str, str | int | tuple[int, ...]]:
    return {"name": tensor.name, "data_type": DATA_TYPES[tensor.datatype], "dims": tensor.dims}


def machine_config(config: model_config_pb2.ModelConfig, cores: int) -> model_config_pb2.ModelConfig:
    """Makes a copy whose instances fill a machine without an accelerator, for our own backend there.

    Args:
        config: a configuration of one of the roles.
        cores: processor cores that the server may use.
    """
    fit = FITS[Role(config.name)]
    fitted = model_config_pb2.ModelConfig()
    fitted.CopyFrom(config)
    for group in fitted.instance_group:
        group.count = max(1, min(cores // fit.share, fit.most))
    fitted.max_batch_size = min(config.max_batch_size, fit.batch)
    numbers = {
        BATCH_PIXELS: fit.pixels,
        RUN_VALUES: fit.run_pixels * _CHANNELS,
        CORES: cores,
        GATHER_MS: fit.gather_ms,
    }
    for name, number in numbers.items():
        if number:
            fitted.parameters[name].string_value = str(number)
    fitted.output.add(name=ECHO, data_type=model_config_pb2.TYPE_INT64, dims=[1])
    return fitted


def to_text(config: model_config_pb2.ModelConfig) -> str:
    """The text form that Triton reads from ``config.pbtxt``."""
    return str(text_format.MessageToString(config))


def read_config(path: Path) -> model_config_pb2.ModelConfig:
    """Reads a ``config.pbtxt``.

    Raises:
        OSError: the file cannot be read.
        text_format.ParseError: it is no model configuration.
    """
    return text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())


def write_config(folder: Path, model: Model, target: Target = Target.CPU) -> None:
    """Writes a model's configuration for a target; the folder is the model's in the repository."""
    path = folder / CONFIG_FILES[target]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(to_text(model_config(model, target)), encoding="utf-8")
