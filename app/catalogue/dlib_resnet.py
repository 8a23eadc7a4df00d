"""Converts dlib's face recognition ResNet to the face embedder's graph.

The network is Davis King's 29-layer ResNet (http://blog.dlib.net/2017/02/high-quality-face-recognition-with-deep.html);
its shape is read from the weight file, not repeated here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx

from app.catalogue.dlib_file import Add, Affine, Convolution, DlibFormatError, Linear, Mark, Network, Pooling, Relu
from app.catalogue.graph import GraphWriter
from app.catalogue.roles import EMBEDDING, FACE, Tensor

PIXEL_SCALE: Final = 256.0


@dataclass(frozen=True, slots=True)
class Plane:
    """A value in the graph, FP32 [N,channels,side,side], tracked so that every pad is a constant."""

    name: str
    channels: int
    side: int


def build_face_embedder(
    network: Network, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, about: dict[str, str]
) -> onnx.ModelProto:
    """Makes the embedder's graph.

    Args:
        network: the layers as read from dlib's file.
        inputs: ``FACE`` UINT8 [N,150,150,3], an aligned chip in RGB.
        outputs: ``EMBEDDING`` FP32 [N,128]; compared by their Euclidean distance, not normalised.
        about: facts for the model's metadata.

    Raises:
        DlibFormatError: the layers are not arranged as in that network.
    """
    graph = GraphWriter("dlib_resnet")
    _Converter(network, graph).climb()
    return graph.model(inputs, outputs, about=about)


def relu_maps(network: Network, graph: GraphWriter, numbers: Sequence[int]) -> list[Plane]:
    """Adds the layers up to the last of some ReLUs to a graph, and nothing above them.

    Args:
        network: the layers as read from dlib's file.
        graph: takes the nodes; its input is ``FACE`` as above.
        numbers: of the ReLUs, counted from 1 at the bottom.

    Returns:
        what these ReLUs put out.

    Raises:
        DlibFormatError: the network has fewer ReLUs, or is not arranged as expected.
    """
    maps = _Converter(network, graph).climb(max(numbers))
    if len(maps) < max(numbers):
        raise DlibFormatError(f"there are {len(maps)} ReLUs, not {max(numbers)}")
    return [maps[number - 1] for number in numbers]


class _Converter:
    """Walks the layers once, upwards."""

    def __init__(self, network: Network, graph: GraphWriter) -> None:
        self._network = network
        self._graph = graph
        self._plane = Plane(self._graph.pixels(FACE), 3, network.size[0])
        self._block = self._plane  # what dlib's tag1 remembers: the block's input
        self._branch = self._plane  # what tag2 remembers: the block's convolutions

    def climb(self, relus: int = -1) -> list[Plane]:
        """Adds all layers, or those up to so many ReLUs; returns what the ReLUs on the way put out."""
        maps: list[Plane] = []
        layers = self._network.layers
        previous: object = None
        position = 0
        while position < len(layers) and len(maps) != relus:
            layer = layers[position]
            following = layers[position + 1] if position + 1 < len(layers) else None
            position += 1
            if isinstance(layer, Convolution):
                affine = following if isinstance(following, Affine) else None
                position += affine is not None
                self._convolve(layer, affine, first=previous is None)
            elif isinstance(layer, Relu):
                self._plane = Plane(self._graph.node("Relu", self._plane.name), self._plane.channels, self._plane.side)
                maps.append(self._plane)
            elif isinstance(layer, Pooling):
                self._pool(layer)
            elif isinstance(layer, Mark) and isinstance(following, Mark):
                # Two in a row: keep the convolutions' value, go back to the block's input.
                position += 1
                self._branch, self._plane = self._plane, self._block
            elif isinstance(layer, Mark):
                self._block = self._plane
            elif isinstance(layer, Add):
                self._add(self._branch if isinstance(previous, Pooling) else self._block)
            elif isinstance(layer, Linear):
                self._finish(layer)
            else:
                raise DlibFormatError("an affine layer does not follow a convolution")
            previous = layer
        return maps

    def _convolve(self, layer: Convolution, affine: Affine | None, *, first: bool) -> None:
        kernel, bias = layer.kernel.astype(np.float64), layer.bias.astype(np.float64)
        if first:
            # (x - mean) / 256 folds into the kernel exactly, because the first layer is not padded.
            if layer.padding:
                raise DlibFormatError("the first convolution is padded")
            kernel = kernel / PIXEL_SCALE
            bias = bias - np.einsum("oihw,i->o", kernel, np.asarray(self._network.mean))
        if affine is not None:
            kernel = kernel * affine.factor[:, None, None, None]
            bias = bias * affine.factor + affine.shift
        size = kernel.shape[2]
        self._plane = Plane(
            self._graph.node(
                "Conv",
                self._plane.name,
                self._graph.floats(kernel),
                self._graph.floats(bias),
                kernel_shape=[size, size],
                strides=[layer.stride] * 2,
                pads=[layer.padding] * 4,
            ),
            kernel.shape[0],
            (self._plane.side + 2 * layer.padding - size) // layer.stride + 1,
        )

    def _pool(self, layer: Pooling) -> None:
        if layer.window == 0:
            self._plane = Plane(self._graph.node("GlobalAveragePool", self._plane.name), self._plane.channels, 1)
            return
        kind = "MaxPool" if layer.kind == "max" else "AveragePool"
        window, stride = [layer.window] * 2, [layer.stride] * 2
        self._plane = Plane(
            self._graph.node(kind, self._plane.name, kernel_shape=window, strides=stride),
            self._plane.channels,
            (self._plane.side - layer.window) // layer.stride + 1,
        )

    def _add(self, other: Plane) -> None:
        """Adds as dlib does: the smaller plane goes on with zeros, in channels and to the bottom right."""
        channels, side = max(self._plane.channels, other.channels), max(self._plane.side, other.side)
        terms = [self._padded(plane, channels, side) for plane in (self._plane, other)]
        self._plane = Plane(self._graph.node("Add", *terms), channels, side)

    def _padded(self, plane: Plane, channels: int, side: int) -> str:
        if (plane.channels, plane.side) == (channels, side):
            return plane.name
        more, wider = channels - plane.channels, side - plane.side
        return self._graph.node("Pad", plane.name, self._graph.ints([0, 0, 0, 0, 0, more, wider, wider]))

    def _finish(self, layer: Linear) -> None:
        if layer.weights.shape[0] != self._plane.channels or self._plane.side != 1:
            raise DlibFormatError(f"the last layer takes {layer.weights.shape[0]} values, not {self._plane}")
        flat = self._graph.node("Flatten", self._plane.name)
        self._graph.node("MatMul", flat, self._graph.floats(layer.weights), output=EMBEDDING)
