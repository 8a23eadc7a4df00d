"""Writes an ONNX graph node by node: names, constants and the final check are kept in one place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import onnx
from numpy.typing import ArrayLike, NDArray
from onnx import TensorProto, helper, numpy_helper

from app.catalogue.roles import ANY, Datatype, Tensor

# The newest pair that ONNX Runtime of NVIDIA's older Triton containers loads as well.
OPSET: Final = 17
IR_VERSION: Final = 8

ELEMENT_TYPES: Final[Mapping[Datatype, int]] = {
    Datatype.UINT8: TensorProto.UINT8,
    Datatype.FP32: TensorProto.FLOAT,
}

Attribute = int | float | str | Sequence[int]


class GraphWriter:
    """Collects nodes and constants, then makes the checked model.

    Values are referred to by their names, which are strings. Axis 0 of every input and output is
    the batch.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def floats(self, values: ArrayLike) -> str:
        """Adds a float32 constant, rounded once from whatever precision it is given in."""
        return self._constant(np.asarray(values, np.float32))

    def ints(self, values: Sequence[int]) -> str:
        """Adds a one-dimensional int64 constant, as shapes, axes and indices are given."""
        return self._constant(np.asarray(values, np.int64))

    def _constant(self, values: NDArray[np.float32] | NDArray[np.int64]) -> str:
        name = f"constant_{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(values).reshape(values.shape), name))
        return name

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Attribute) -> str:
        """Adds an operator with one output and returns that output's name."""
        return self.nodes(kind, *inputs, outputs=(output or f"{kind}_{len(self._nodes)}",), **attributes)[0]

    def nodes(self, kind: str, *inputs: str, outputs: Sequence[str], **attributes: Attribute) -> Sequence[str]:
        """Adds an operator with several outputs and returns their names."""
        name = f"{self._name}/{kind}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), list(outputs), name=name, **attributes))
        return outputs

    def pixels(self, name: str) -> str:
        """Turns UINT8 [N,H,W,3] into FP32 [N,3,H,W]; transposed first, while elements are one byte each."""
        return self.node("Cast", self.node("Transpose", name, perm=[0, 3, 1, 2]), to=TensorProto.FLOAT)

    def slice(self, value: str, start: int, end: int, *, axis: int) -> str:
        """Takes ``[start, end)`` of one axis."""
        return self.node("Slice", value, self.ints([start]), self.ints([end]), self.ints([axis]))

    def model(
        self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, about: Mapping[str, str]
    ) -> onnx.ModelProto:
        """Makes the model and checks it fully, shapes included.

        Args:
            inputs: the graph's inputs; their names are values used above.
            outputs: the graph's outputs; their names are values made above.
            about: facts for the model's metadata (source, licence).

        Raises:
            onnx.checker.ValidationError: a node or a shape is wrong; a fault of the calling builder.
        """
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [_value_info(tensor) for tensor in inputs],
            [_value_info(tensor) for tensor in outputs],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="likeness")
        model.ir_version = IR_VERSION
        helper.set_model_props(model, dict(about))
        onnx.checker.check_model(model, full_check=True)
        return model


def _value_info(tensor: Tensor) -> onnx.ValueInfoProto:
    dims = [f"{tensor.name.lower()}_{axis}" if dim == ANY else dim for axis, dim in enumerate(tensor.dims)]
    return helper.make_tensor_value_info(tensor.name, ELEMENT_TYPES[tensor.datatype], ["batch", *dims])
