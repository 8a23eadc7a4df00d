"""Builds the image descriptor: CenterFace's early layers, pooled over four views, and the project's own projection.

The layers of a network that finds faces see edges, textures and colours before they see faces. Means
and generalised means (Radenović et al. 2018, https://arxiv.org/abs/1711.02512, section 3.2) of their
activations describe an image whatever lies where in it; the trained projection keeps what tells
images apart and drops what crops, turns and compression change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import onnx
from onnx import helper, numpy_helper

from app.catalogue.graph import GraphWriter
from app.catalogue.projection import Projection
from app.catalogue.roles import EMBEDDING, IMAGE, Datatype, Tensor

SIDE: Final = 256
"""Side of the input in pixels."""

VIEW_SIDE: Final = 192
CENTRE: Final = 168
"""Side of the centre that is a view of its own, 66 % of the input's; 192/168 is 8/7."""

VIEWS: Final = 4
"""The whole image and its centre, each upright and turned by 90°."""

# Activations taken: the name that each has in the published graph, and its channels.
MAPS: Final = (("390", 144), ("401", 192), ("416", 192), ("424", 384))

POWERS: Final = (1, 3)
WIDTH: Final = len(POWERS) * sum(channels for _, channels in MAPS)

LENGTH_FLOOR: Final = 1e-6
"""A vector shorter than this is left short: it has no direction."""

FEATURES: Final = Tensor("FEATURES", Datatype.FP32, (WIDTH,))


def build_features(source: onnx.ModelProto, inputs: Sequence[Tensor]) -> onnx.ModelProto:
    """Makes the graph up to the projection, as training needs it.

    Args:
        source: the published CenterFace model.
        inputs: ``IMAGE`` UINT8 [N,256,256,3], RGB, squashed to the square by area interpolation.

    Returns:
        a model with the output ``FEATURES`` FP32 [N,1824].
    """
    graph = GraphWriter("image_features")
    graph.node("Identity", _features(graph, source.graph), output=FEATURES.name)
    return graph.model(inputs, (FEATURES,), about={})


def build_image_embedder(
    source: onnx.ModelProto,
    projection: Projection,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    *,
    about: dict[str, str],
) -> onnx.ModelProto:
    """Makes the descriptor's graph.

    Args:
        source: the published CenterFace model; what follows its map ``424`` is left out.
        projection: the trained linear map of 1,824 features.
        inputs: as above.
        outputs: ``EMBEDDING`` FP32 [N,D] of length 1.
        about: facts for the model's metadata.
    """
    graph = GraphWriter("image_descriptor")
    features = graph.node("Sub", _features(graph, source.graph), graph.floats(projection.mean))
    projected = graph.node("MatMul", features, graph.floats(projection.directions))
    _unit(graph, projected, output=EMBEDDING)
    return graph.model(inputs, outputs, about=about)


def _features(graph: GraphWriter, source: onnx.GraphProto) -> str:
    """Pooled activations: [N,1824]."""
    maps = _maps(graph, source, _views(graph))
    parts = [_pooled(graph, maps[name], channels, power) for name, channels in MAPS for power in POWERS]
    return graph.node("Concat", *parts, axis=1)


def _views(graph: GraphWriter) -> str:
    """All views of all images: [4N,3,192,192], view by view."""
    whole = graph.pixels(IMAGE)
    margin = (SIDE - CENTRE) // 2
    centre = graph.slice(graph.slice(whole, margin, SIDE - margin, axis=2), margin, SIDE - margin, axis=3)
    upright = graph.node("Concat", _resized(graph, whole, SIDE), _resized(graph, centre, CENTRE), axis=0)
    # A quarter turn counter-clockwise: transposed, then the last row first.
    backwards = graph.ints(range(VIEW_SIDE - 1, -1, -1))
    turned = graph.node("Gather", graph.node("Transpose", upright, perm=[0, 1, 3, 2]), backwards, axis=2)
    return graph.node("Concat", upright, turned, axis=0)


def _resized(graph: GraphWriter, pixels: str, side: int) -> str:
    scales = graph.floats([1, 1, VIEW_SIDE / side, VIEW_SIDE / side])
    return graph.node("Resize", pixels, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")


def _maps(graph: GraphWriter, source: onnx.GraphProto, views: str) -> dict[str, str]:
    """Copies the nodes that lead to the wanted maps, and returns where these are now."""
    weights = {item.name: numpy_helper.to_array(item) for item in source.initializer}
    wanted = {name for name, _ in MAPS}
    needed = set(wanted)
    nodes: list[onnx.NodeProto] = []
    for node in reversed(source.node):
        if node.output[0] in needed:
            nodes.insert(0, node)
            needed |= set(node.input)
    values = {next(item.name for item in source.input if item.name not in weights): views}
    for node in nodes:
        names = [graph.floats(weights[name]) if name in weights else values[name] for name in node.input]
        attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
        values[node.output[0]] = graph.node(node.op_type, *names, **attributes)
    return {name: values[name] for name in wanted}


def _pooled(graph: GraphWriter, activations: str, channels: int, power: int) -> str:
    """The generalised mean over space and views, square-rooted, of length 1: [N,channels].

    Activations are not negative, so the root of the mean and the square root are one power.
    """
    raised = activations
    for _ in range(power - 1):
        raised = graph.node("Mul", raised, activations)
    means = graph.node("Reshape", graph.node("GlobalAveragePool", raised), graph.ints([VIEWS, -1, channels]))
    mean = graph.node("ReduceMean", means, axes=[0], keepdims=0)
    return _unit(graph, graph.node("Pow", mean, graph.floats(1 / (2 * power))))


def _unit(graph: GraphWriter, values: str, *, output: str = "") -> str:
    length = graph.node("ReduceL2", values, axes=[1], keepdims=1)
    return graph.node("Div", values, graph.node("Max", length, graph.floats(LENGTH_FLOOR)), output=output)
