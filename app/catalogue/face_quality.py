"""Builds the face quality model: early layers of dlib's face ResNet, pooled, and the project's own linear head.

The layers of a network that tells faces apart see edges, textures and parts of faces before they see
persons. Means and standard deviations of their activations over the chip say how sharp it is and
whether what belongs to a face is there; the trained head reads the classes from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx

from app.catalogue.dlib_file import Network
from app.catalogue.dlib_resnet import relu_maps
from app.catalogue.graph import GraphWriter
from app.catalogue.quality_head import QualityHead
from app.catalogue.roles import QUALITY, Datatype, Tensor

# ReLUs whose output is taken, counted from 1 at the bottom, and its channels: after the first
# convolution and after the last block of 32, 64 and 128 channels.
MAPS: Final = ((1, 32), (7, 32), (15, 64), (21, 128))

WIDTH: Final = 2 * sum(channels for _, channels in MAPS)

FEATURES: Final = Tensor("FEATURES", Datatype.FP32, (WIDTH,))


def build_features(network: Network, inputs: Sequence[Tensor]) -> onnx.ModelProto:
    """Makes the graph up to the head, as training needs it.

    Args:
        network: the layers as read from dlib's file; those above ReLU 21 are left out.
        inputs: ``FACE`` UINT8 [N,150,150,3], a chip in RGB, aligned as for the face embedder.

    Returns:
        a model with the output ``FEATURES`` FP32 [N,512].

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
        head: the trained linear map of 512 features.
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
    """Means, then standard deviations of each map over the chip: [N,512]."""
    maps = relu_maps(network, graph, [number for number, _ in MAPS])
    parts = [part for value in maps for part in _moments(graph, value)]
    return graph.node("Flatten", graph.node("Concat", *parts, axis=1))


def _moments(graph: GraphWriter, value: str) -> tuple[str, str]:
    """Mean and standard deviation over space, [N,C,1,1] each; the deviation in two passes, so nothing cancels."""
    mean = graph.node("GlobalAveragePool", value)
    apart = graph.node("Sub", value, mean)
    variance = graph.node("GlobalAveragePool", graph.node("Mul", apart, apart))
    return mean, graph.node("Sqrt", variance)
