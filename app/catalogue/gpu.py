"""How models are served on an NVIDIA GPU: by TensorRT, with profiles, an engine cache and warm-up; see docs/gpu.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tritonclient.grpc import model_config_pb2

from app.catalogue.roles import Role

ENGINE_CACHE: Final = "/var/cache/tensorrt"
"""Folder of the server for built engines: to be kept between starts, because building one takes minutes."""

_WORKSPACE_BYTES: Final = 1 << 30
_INSTANCES: Final = 2  # one computes while the other's tensors are copied


class Precision(StrEnum):
    """What TensorRT may compute with, in the backend's spelling."""

    FP16 = "FP16"
    FP32 = "FP32"


@dataclass(frozen=True, slots=True)
class GpuFit:
    """How a model is fitted to a GPU.

    Attributes:
        precision: of its layers.
        preferred: batch that engines are tuned for, and that is sent without waiting for more.
        delay_us: microseconds that a smaller batch waits for more.
        smallest: height and width of the smallest input.
        usual: of the usual one.
        largest: of the largest one.
    """

    precision: Precision
    preferred: int
    delay_us: int
    smallest: tuple[int, int]
    usual: tuple[int, int]
    largest: tuple[int, int]


# FP16 where its rounding, put on every weight and activation, moves nothing that counts: face embeddings by an L2 of
# 0.0021 at most (the threshold lies at 0.55), no face's quality class (80 photos). Not where it does: the image
# descriptor's cubes and cube roots (cosine to itself 0.990, between photos up to 0.019 off), and the detector's
# coordinates, computed in the graph (landmarks 0.5 pixels off in the mean, up to several).
FITS: Final[Mapping[Role, GpuFit]] = {
    Role.FACE_DETECTOR: GpuFit(Precision.FP32, 4, 500, (32, 32), (640, 640), (640, 640)),
    Role.FACE_QUALITY: GpuFit(Precision.FP16, 16, 200, (150, 150), (150, 150), (150, 150)),
    Role.FACE_EMBEDDER: GpuFit(Precision.FP16, 16, 200, (150, 150), (150, 150), (150, 150)),
    Role.IMAGE_EMBEDDER: GpuFit(Precision.FP32, 8, 500, (256, 256), (256, 256), (256, 256)),
}


def gpu_config(config: model_config_pb2.ModelConfig) -> model_config_pb2.ModelConfig:
    """Makes a copy of a model's configuration for a machine with a GPU.

    Args:
        config: of one of the default models, which all have one input of pixels.
    """
    role = Role(config.name)
    fit = FITS[role]
    fitted = model_config_pb2.ModelConfig()
    fitted.CopyFrom(config)
    del fitted.instance_group[:]
    fitted.instance_group.add(kind=model_config_pb2.ModelInstanceGroup.KIND_GPU, count=_INSTANCES)
    fitted.dynamic_batching.preferred_batch_size.append(fit.preferred)
    fitted.dynamic_batching.max_queue_delay_microseconds = fit.delay_us
    fitted.optimization.input_pinned_memory.enable = True
    fitted.optimization.output_pinned_memory.enable = True
    accelerator = fitted.optimization.execution_accelerators.gpu_execution_accelerator.add(name="tensorrt")
    for key, value in _tensorrt(fit, config.input[0].name, config.max_batch_size).items():
        accelerator.parameters[key] = value
    fitted.model_warmup.extend(_warmups(fit, config))
    return fitted


def _tensorrt(fit: GpuFit, tensor: str, largest_batch: int) -> dict[str, str]:
    """Parameters of the accelerator; the profile spans all shapes, since one outside it has the engine built anew."""

    def shape(batch: int, sides: tuple[int, int]) -> str:
        return f"{tensor}:{batch}x{sides[0]}x{sides[1]}x3"

    return {
        "precision_mode": fit.precision.value,
        "max_workspace_size_bytes": str(_WORKSPACE_BYTES),
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": ENGINE_CACHE,
        "trt_profile_min_shapes": shape(1, fit.smallest),
        "trt_profile_opt_shapes": shape(fit.preferred, fit.usual),
        "trt_profile_max_shapes": shape(largest_batch, fit.largest),
    }


def _warmups(fit: GpuFit, config: model_config_pb2.ModelConfig) -> Iterator[model_config_pb2.ModelWarmup]:
    """A first call of each kind of batch before the model counts as ready: the first one builds or loads the engine."""
    for batch in (1, fit.preferred, config.max_batch_size):
        warmup = model_config_pb2.ModelWarmup(name=f"batch of {batch}", batch_size=batch, count=1)
        tensor = warmup.inputs[config.input[0].name]
        tensor.data_type = config.input[0].data_type
        tensor.dims.extend((*fit.usual, 3))
        tensor.random_data = True
        yield warmup
