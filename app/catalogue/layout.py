"""Where things lie in a model's folder of the repository, as Triton expects them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final


class Target(StrEnum):
    """A kind of machine that models are served on; its value is what `likeness models build --target` takes."""

    CPU = "cpu"
    GPU = "gpu"


CONFIG_FILE: Final = Path("config.pbtxt")

# Triton takes it instead of the other where it is started with `--model-config-name gpu`.
GPU_CONFIG_FILE: Final = Path("configs", "gpu.pbtxt")

CONFIG_FILES: Final = {Target.CPU: CONFIG_FILE, Target.GPU: GPU_CONFIG_FILE}
MODEL_FILE: Final = Path("1", "model.onnx")

# Beside the model and named after it, so that one pattern keeps both out of git.
MANIFEST_FILE: Final = Path("1", "model.onnx.json")
