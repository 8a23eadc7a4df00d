"""Where things lie in a model's folder of the repository, as Triton expects them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

CONFIG_FILE: Final = Path("config.pbtxt")
MODEL_FILE: Final = Path("1", "model.onnx")

# Beside the model and named after it, so that one pattern keeps both out of git.
MANIFEST_FILE: Final = Path("1", "model.onnx.json")
