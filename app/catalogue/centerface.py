"""Adapts CenterFace to the detector's contract: any input size, and candidates decoded inside the graph.

CenterFace (Xu et al. 2020, https://arxiv.org/abs/1911.03599) is a centre-point detector: on a grid
of cells 4 pixels wide it gives a heat map of face centres, and for each cell the box size, the
offset of the centre and five landmarks. The raw maps of a 640×480 photo are 1.2 MB, its best 200
candidates are 12 kB, so the decoding happens here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from app.catalogue.graph import GraphWriter
from app.catalogue.roles import BOXES, IMAGE, LANDMARKS, SCORES, Tensor

CELL: Final = 4.0
"""Input pixels between neighbouring cells."""

CANDIDATES: Final = 200
"""Candidates kept of each image; fewer where the image has fewer cells."""

NO_PEAK: Final = -100.0
"""Heat (before the sigmoid) of cells that are no peak: their score is 0."""

# What the merged output convolution predicts of each cell: heat; size (logarithms); offset; five
# landmarks. The published order of each pair is (y, x); this takes its rows as (x, y).
XY_ORDER: Final = (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13)
MAPS: Final = len(XY_ORDER)

Weights = dict[str, NDArray[np.float32]]


def build_detector(
    source: onnx.ModelProto, inputs: Sequence[Tensor], outputs: Sequence[Tensor], *, about: dict[str, str]
) -> onnx.ModelProto:
    """Makes the detector's graph from the published CenterFace model.

    Args:
        source: the published model: input [N,3,H,W], outputs heat, size, offset and landmark maps.
        inputs: ``IMAGE`` UINT8 [N,H,W,3], RGB, both sides a multiple of 32.
        outputs: ``BOXES`` [N,K,4], ``SCORES`` [N,K] and ``LANDMARKS`` [N,K,5,2], K = min(200, H·W/16).
        about: facts for the model's metadata.
    """
    weights: Weights = {item.name: numpy_helper.to_array(item) for item in source.graph.initializer}
    graph = GraphWriter("centerface")
    maps = _network(graph, source.graph, weights)
    _decode(graph, maps)
    return graph.model(inputs, outputs, about=about)


def _network(graph: GraphWriter, source: onnx.GraphProto, weights: Weights) -> str:
    """Copies the network; normalisation is folded and the four heads become one convolution: [N,15,h,w]."""
    producers = {node.output[0]: node for node in source.node}
    normalisations = {node.input[0]: node for node in source.node if node.op_type == "BatchNormalization"}
    heads = [producers[output.name] for output in source.output]
    replaced = {output.name for output in source.output}
    if heads[0].op_type == "Sigmoid":  # taken of the best candidates only
        heads[0] = producers[heads[0].input[0]]
        replaced.add(heads[0].output[0])

    values = {next(item.name for item in source.input if item.name not in weights): graph.pixels(IMAGE)}
    for node in source.node:
        if node.output[0] in replaced:
            continue
        if node.op_type == "BatchNormalization":
            values[node.output[0]] = values[node.input[0]]
            continue
        if node.output[0] in normalisations:
            kernel, bias = _folded(weights, node, normalisations[node.output[0]])
            names = [values[node.input[0]], graph.floats(kernel), graph.floats(bias)]
        else:
            names = [graph.floats(weights[name]) if name in weights else values[name] for name in node.input]
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        values[node.output[0]] = graph.node(node.op_type, *names, **attributes)
    kernels = np.concatenate([weights[head.input[1]] for head in heads])[list(XY_ORDER)]
    biases = np.concatenate([weights[head.input[2]] for head in heads])[list(XY_ORDER)]
    return graph.node("Conv", values[heads[0].input[0]], graph.floats(kernels), graph.floats(biases))


def _folded(
    weights: Weights, convolution: onnx.NodeProto, normalisation: onnx.NodeProto
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Folds a batch normalisation into the transposed convolution before it, which has no bias.

    A transposed convolution's kernel is [in, out, kh, kw], so the factor belongs to axis 1.
    """
    scale, shift, mean, variance = (weights[name].astype(np.float64) for name in normalisation.input[1:])
    epsilon = next(item.f for item in normalisation.attribute if item.name == "epsilon")
    factor = scale / np.sqrt(variance + epsilon)
    return weights[convolution.input[1]] * factor[:, None, None], shift - mean * factor


def _decode(graph: GraphWriter, maps: str) -> None:
    """Turns the maps into the best candidates, in input pixels.

    Of cell (column, row): centre = 4·((column, row) + offset + ½), side = 4·exp(size),
    landmark = the box's first corner + landmark·side.
    """
    columns = graph.slice(graph.node("Shape", maps), 3, 4, axis=0)
    flat = graph.node("Reshape", maps, graph.ints([0, MAPS, -1]))  # [N,15,cells]
    heat = graph.node("Reshape", _peaks(graph, graph.slice(maps, 0, 1, axis=1)), graph.ints([0, -1]))
    cells = graph.slice(graph.node("Shape", heat), 1, 2, axis=0)
    count = graph.node("Min", cells, graph.ints([CANDIDATES]))  # K
    best, index = graph.nodes("TopK", heat, count, outputs=("best", "index"), axis=1, sorted=1)
    graph.node("Sigmoid", best, output=SCORES)

    index = graph.node("Unsqueeze", index, graph.ints([1]))  # [N,1,K]
    picked = graph.node("GatherElements", flat, graph.node("Expand", index, graph.ints([1, MAPS, 1])), axis=2)
    row = graph.node("Div", index, columns)
    column = graph.node("Sub", index, graph.node("Mul", row, columns))
    cell = graph.node("Cast", graph.node("Concat", column, row, axis=1), to=onnx.TensorProto.FLOAT)  # [N,2,K]
    offset = graph.node("Add", graph.slice(picked, 3, 5, axis=1), graph.floats(0.5))
    centre = graph.node("Mul", graph.node("Add", cell, offset), graph.floats(CELL))
    side = graph.node("Mul", graph.node("Exp", graph.slice(picked, 1, 3, axis=1)), graph.floats(CELL))
    first = graph.node("Sub", centre, graph.node("Mul", side, graph.floats(0.5)))
    box = graph.node("Concat", first, graph.node("Add", first, side), axis=1)  # [N,4,K]
    graph.node("Transpose", box, perm=[0, 2, 1], output=BOXES)

    inside = graph.node("Reshape", graph.slice(picked, 5, MAPS, axis=1), graph.ints([0, 5, 2, -1]))
    inside = graph.node("Mul", inside, graph.node("Unsqueeze", side, graph.ints([1])))
    landmarks = graph.node("Add", inside, graph.node("Unsqueeze", first, graph.ints([1])))
    graph.node("Transpose", landmarks, perm=[0, 3, 1, 2], output=LANDMARKS)


def _peaks(graph: GraphWriter, heat: str) -> str:
    """Keeps the cells that are the hottest of their 3×3 neighbourhood.

    As in CenterNet (Zhou et al. 2019, https://arxiv.org/abs/1904.07850, section 3.1). Without it the
    cells around the centre of one large face, over a thousand, crowd smaller faces out of the
    candidates. It does not replace non-maximum suppression, but leaves its result as it was.
    """
    hottest = graph.node("MaxPool", heat, kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    return graph.node("Where", graph.node("Equal", heat, hottest), heat, graph.floats(NO_PEAK))
