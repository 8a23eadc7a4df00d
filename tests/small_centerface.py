"""A small network with the activations that the image descriptor takes of CenterFace, made from a seed."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from app.catalogue.sources import CENTERFACE, Source

LAYERS = (("390", 3, 144, 8), ("401", 144, 192, 2), ("416", 192, 192, 1), ("424", 192, 384, 2))
"""Name, input and output channels, stride: each a convolution and a ReLU."""


@cache
def small_centerface() -> onnx.ModelProto:
    """The four layers, and one more that the descriptor leaves out."""
    random = np.random.default_rng(5)
    nodes, weights = [], []
    value = "pixels"
    for name, before, channels, stride in (*LAYERS, ("after", 384, 9, 1)):
        side = stride if before == 3 else 1
        spread = 1 / np.sqrt(before * side * side)
        kernel = random.normal(0, spread, (channels, before, side, side)).astype(np.float32)
        weights.append(numpy_helper.from_array(kernel, f"kernel_{name}"))
        nodes.append(helper.make_node("Conv", [value, f"kernel_{name}"], [f"conv_{name}"], strides=[stride] * 2))
        nodes.append(helper.make_node("Relu", [f"conv_{name}"], [name]))
        value = name
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        [helper.make_tensor_value_info("after", TensorProto.FLOAT, ["n", 9, "y", "x"])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    return model


def small_source(cache_dir: Path) -> Source:
    """The network as a weight file that is in the cache already, and its pin."""
    content = small_centerface().SerializeToString()
    checksum = hashlib.sha256(content).hexdigest()
    cache_dir.mkdir(parents=True, exist_ok=True)
    (cache_dir / checksum).write_bytes(content)
    return replace(CENTERFACE, member_sha256=checksum, member_bytes=len(content))
