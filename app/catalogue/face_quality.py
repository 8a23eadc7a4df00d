"""Builds the face quality model: early layers of dlib's face ResNet, pooled, and the project's own linear head.

The layers of a network that tells faces apart see edges, textures and parts of faces before they see
persons. Means and standard deviations of their activations over the chip say how sharp it is, means in
the cells of a grid whether the parts of a face are where they belong; the trained head reads the
classes from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx

from app.catalogue.dlib_file import Network
from app.catalogue.dlib_resnet import Plane, relu_maps
from app.catalogue.graph import GraphWriter
from app.catalogue.quality_head import QualityHead
from app.catalogue.roles import QUALITY, Datatype, Tensor

# ReLUs whose output is taken, counted from 1 at the bottom, and its channels: after the first
# convolution and after the last block of 32, 64 and 128 channels.
MAPS: Final = ((1, 32), (7, 32), (15, 64), (21, 128))

GRIDDED: Final = (15, 21)
"""Those of them whose means are taken in each cell of a grid as well: deep enough to see parts of faces."""

GRID: Final = 4
"""Cells of the grid along each side."""

WIDTH: Final = sum(channels * (2 + (relu in GRIDDED) * GRID**2) for relu, channels in MAPS)

FEATURES: Final = Tensor("FEATURES", Datatype.FP32, (WIDTH,))


def build_features(network: Network, inputs: Sequence[Tensor]) -> onnx.ModelProto:
    """Makes the graph up to the head, as training needs it.

    Args:
        network: the layers as read from dlib's file; those above ReLU 21 are left out.
        inputs: ``FACE`` UINT8 [N,150,150,3], a chip in RGB, aligned as for the face embedder.

    Returns:
        a model with the output ``FEATURES`` FP32 [N,3584].

    Raises:
        DlibFormatError: the layers are not arranged as in that network.
    """
    graph = GraphWriter("face_quality_features")
    graph.node("Identity", _features(graph, network), output=FEATURES.name)
    return graph.model(inputs, (FEATURES,), about={})


def build_face_quality(
    network: Network,
    head: QualityHead,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    *,
    about: dict[str, str],
) -> onnx.ModelProto:
    """Makes the model's graph.

    Args:
        network: as above.
        head: the trained linear map of 3,584 features.
        inputs: as above.
        outputs: ``QUALITY`` FP32 [N,4], probabilities.
        about: facts for the model's metadata.

    Raises:
        DlibFormatError: the layers are not arranged as in that network.
    """
    graph = GraphWriter("face_quality")
    logits = graph.node("Gemm", _features(graph, network), graph.floats(head.weights), graph.floats(head.bias))
    graph.node("Softmax", logits, output=QUALITY, axis=1)
    return graph.model(inputs, outputs, about=about)


def _features(graph: GraphWriter, network: Network) -> str:
    """Mean and standard deviation of every map over the chip, then the means in the grid's cells: [N,3584]."""
    numbers = [relu for relu, _ in MAPS]
    planes = dict(zip(numbers, relu_maps(network, graph, numbers), strict=True))
    parts = [part for plane in planes.values() for part in _moments(graph, plane.name)]
    parts += [_cells(graph, planes[relu]) for relu in GRIDDED]
    return graph.node("Concat", *(graph.node("Flatten", part) for part in parts), axis=1)


def _moments(graph: GraphWriter, value: str) -> tuple[str, str]:
    """Mean and standard deviation over space, [N,C,1,1] each; the deviation in two passes, so nothing cancels."""
    mean = graph.node("GlobalAveragePool", value)
    apart = graph.node("Sub", value, mean)
    variance = graph.node("GlobalAveragePool", graph.node("Mul", apart, apart))
    return mean, graph.node("Sqrt", variance)


def _cells(graph: GraphWriter, plane: Plane) -> str:
    """Means in the cells of a grid, [N,C,4,4]; where the side is no multiple of 4, neighbouring cells overlap."""
    stride = plane.side // GRID
    window = plane.side - (GRID - 1) * stride
    return graph.node("AveragePool", plane.name, kernel_shape=[window] * 2, strides=[stride] * 2)
