"""Runs graphs on many images with ONNX Runtime, which only training needs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from PIL import Image

from app.errors import OperatorError
from app.vision.letterbox import squash

BATCH: Final = 4


class GraphRunner:
    """One graph whose only input is pixels, on one thread.

    Args:
        model: the graph.

    Raises:
        OperatorError: ONNX Runtime is not installed.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        try:
            # The package reports its use to its makers unless told not to.
            os.environ["ORT_DISABLE_TELEMETRY"] = "1"
            import onnxruntime  # noqa: PLC0415 - the service runs without it
        except ImportError as error:
            raise OperatorError(
                "Training needs the package onnxruntime: install requirements/dev.txt, or `pip install onnxruntime`."
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session: Any = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self._input = model.graph.input[0].name
        self._outputs = [output.name for output in model.graph.output]

    def outputs(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """All outputs by name for one batch, UINT8 [N,H,W,3]."""
        return dict(zip(self._outputs, self._session.run(None, {self._input: pixels}), strict=True))

    def run(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """The first output for all of them, FP32 [N,D]."""
        parts = [
            self.outputs(np.stack(pixels[start : start + BATCH]))[self._outputs[0]]
            for start in range(0, len(pixels), BATCH)
        ]
        return np.concatenate(parts)


class ImageRunner(GraphRunner):
    """A graph that takes whole images, squashed to a square.

    Args:
        model: the graph.
        side: of its input, in pixels.

    Raises:
        OperatorError: ONNX Runtime is not installed.
    """

    def __init__(self, model: onnx.ModelProto, side: int) -> None:
        super().__init__(model)
        self._side = side

    def pixels(self, image: Image.Image) -> NDArray[np.uint8]:
        """An RGB image as the graph takes it: UINT8 [side,side,3]."""
        return squash(np.asarray(image), self._side)
