"""Reading dlib's serialised networks and converting them, on small networks that the tests write themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.catalogue.dlib_file import (
    Add,
    Affine,
    Convolution,
    DlibFormatError,
    Layer,
    Linear,
    Mark,
    Network,
    Pooling,
    Relu,
    read_network,
)
from app.catalogue.dlib_resnet import build_face_embedder
from app.catalogue.roles import Datatype, Tensor

SIDE = 12
MEAN = (120.5, 117.25, 104.0)
Floats = NDArray[np.float32]


def integer(value: int) -> bytes:
    magnitude = abs(value).to_bytes((abs(value).bit_length() + 7) // 8 or 1, "little")
    return bytes([len(magnitude) | (0x80 if value < 0 else 0)]) + magnitude


def real(value: float) -> bytes:
    if math.isinf(value):
        return integer(0) + integer(32000 if value > 0 else 32001)
    mantissa, exponent = math.frexp(value)
    return integer(int(mantissa * 2**53)) + integer(exponent - 53)


def text(value: str) -> bytes:
    return integer(len(value)) + value.encode()


def tensor(values: Floats) -> bytes:
    dims = (*values.shape, 1, 1, 1, 1)[:4]
    return integer(2) + b"".join(map(integer, dims)) + values.astype("<f4").tobytes()


def window(*dims: int) -> bytes:
    return integer(1) + b"".join(map(integer, dims))


NOTHING = tensor(np.zeros((0, 0, 0, 0), np.float32))


def body(layer: Layer) -> bytes:
    """The layer's own part of the file."""
    rates = b"".join(real(1.0) for _ in range(4))
    if isinstance(layer, Convolution):
        filters, _, height, width = layer.kernel.shape
        geometry = (filters, height, width, layer.stride, layer.stride, layer.padding, layer.padding)
        parameters = np.concatenate([layer.kernel.ravel(), layer.bias])
        windows = window(*layer.kernel.shape) + window(1, filters, 1, 1)
        return text("con_4") + tensor(parameters) + b"".join(map(integer, geometry)) + windows + rates
    if isinstance(layer, Affine):
        count = len(layer.factor)
        parameters = np.concatenate([layer.factor, layer.shift])
        return text("affine_") + tensor(parameters) + window(1, count, 1, 1) + window(1, count, 1, 1) + integer(0)
    if isinstance(layer, Pooling):
        sides = (layer.window, layer.window, layer.stride, layer.stride, 0, 0)
        return text(f"{layer.kind}_pool_2") + b"".join(map(integer, sides))
    if isinstance(layer, Linear):
        inputs, outputs = layer.weights.shape
        windows = window(inputs, outputs, 1, 1) + window(0, 0, 0, 0)
        return text("fc_2") + integer(outputs) + integer(inputs) + tensor(layer.weights) + windows + integer(1) + rates
    return text("relu_" if isinstance(layer, Relu) else "add_prev_")


def serialised(layers: list[Layer]) -> bytes:
    """A whole file: all versions from the top down, then the layers from the bottom up."""
    versions = [1 if isinstance(layer, Mark) else 2 for layer in layers]
    versions[0] = 3
    parts = [integer(1), text("loss_metric_2"), real(0.04), real(0.6)]
    parts += [integer(version) for version in reversed(versions)]
    parts += [text("input_rgb_image_sized"), *(real(value) for value in MEAN), integer(SIDE), integer(SIDE)]
    for layer, version in zip(layers, versions, strict=True):
        if not isinstance(layer, Mark):
            parts += [body(layer), b"000", NOTHING * 3, integer(0) if version == 3 else b""]
    return b"".join(parts)


@dataclass
class Dice:
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(5))

    def __call__(self, *shape: int) -> Floats:
        return self.rng.normal(0, 0.5, shape).astype(np.float32)


def small_resnet() -> list[Layer]:
    """Two blocks as in dlib's network, where the second one needs padding in channels and in space.

    12 → convolution 3, stride 1 → 10 → plain block (10) → shrinking block: its convolutions give 6
    channels of (10 - 3) // 2 + 1 = 4, its pooled input 4 channels of (10 - 2) // 2 + 1 = 5.
    """
    dice = Dice()

    def convolution(outputs: int, inputs: int, stride: int, padding: int) -> list[Layer]:
        kernel = dice(outputs, inputs, 3, 3) / np.float32(math.sqrt(inputs))
        return [Convolution(kernel, dice(outputs), stride, padding), Affine(dice(outputs) + 1, dice(outputs))]

    plain = [Mark(), *convolution(4, 4, 1, 1), Relu(), *convolution(4, 4, 1, 1), Add(), Relu()]
    branch = [Mark(), *convolution(6, 4, 2, 0), Relu(), *convolution(6, 6, 1, 1)]
    shrinking = [*branch, Mark(), Mark(), Pooling("avg", 2, 2), Add(), Relu()]
    return [*convolution(4, 3, 1, 0), Relu(), *plain, *shrinking, Pooling("avg", 0, 1), Linear(dice(6, 8))]


def convolved(x: NDArray[np.float64], layer: Convolution) -> NDArray[np.float64]:
    pad = layer.padding
    x = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    patches = np.lib.stride_tricks.sliding_window_view(x, layer.kernel.shape[2:], axis=(2, 3))
    patches = patches[:, :, :: layer.stride, :: layer.stride]
    result: NDArray[np.float64] = np.einsum("nihwyx,oiyx->nohw", patches, layer.kernel) + layer.bias[:, None, None]
    return result


def block(x: NDArray[np.float64], layers: list[Layer]) -> NDArray[np.float64]:
    for layer in layers:
        if isinstance(layer, Convolution):
            x = convolved(x, layer)
        elif isinstance(layer, Affine):
            x = x * layer.factor[:, None, None] + layer.shift[:, None, None]
        elif isinstance(layer, Relu):
            x = np.maximum(x, 0)
    return x


def expected(layers: list[Layer], chips: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The same network, computed in float64 from its description in words."""
    x = ((chips.astype(np.float64) - MEAN) / 256).transpose(0, 3, 1, 2)
    x = block(x, layers[:3])
    x = np.maximum(block(x, layers[4:9]) + x, 0)
    branch = block(x, layers[12:17])
    pooled = x.reshape(*x.shape[:2], 5, 2, 5, 2).mean((3, 5))
    whole = np.zeros((len(x), 6, 5, 5))
    whole[:, :, :4, :4] += branch
    whole[:, :4] += pooled
    last = layers[-1]
    assert isinstance(last, Linear)
    result: NDArray[np.float64] = np.maximum(whole, 0).mean((2, 3)) @ last.weights
    return result


def run(network: Network, chips: NDArray[np.uint8]) -> Floats:
    model = build_face_embedder(
        network,
        (Tensor("FACE", Datatype.UINT8, (SIDE, SIDE, 3)),),
        (Tensor("EMBEDDING", Datatype.FP32, (8,)),),
        about={"model_id": "small"},
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: Floats = session.run(["EMBEDDING"], {"FACE": chips})[0]
    return result


def test_a_converted_network_computes_what_dlib_describes() -> None:
    layers = small_resnet()
    chips = np.random.default_rng(6).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)
    np.testing.assert_allclose(run(read_network(serialised(layers)), chips), expected(layers, chips), atol=2e-5)


def test_reading_gives_the_layers_in_the_order_of_computing() -> None:
    layers = small_resnet()
    network = read_network(serialised(layers))
    assert network.mean == MEAN
    assert network.size == (SIDE, SIDE)
    assert [type(layer) for layer in network.layers] == [type(layer) for layer in layers]
    first, mine = network.layers[0], layers[0]
    assert isinstance(first, Convolution)
    assert isinstance(mine, Convolution)
    np.testing.assert_array_equal(first.kernel, mine.kernel)
    np.testing.assert_array_equal(first.bias, mine.bias)


@given(st.data())
def test_a_truncated_file_is_refused(data: st.DataObject) -> None:
    whole = serialised([Convolution(np.ones((1, 3, 2, 2), np.float32), np.ones(1, np.float32), 1, 0), Relu()])
    read_network(whole)
    with pytest.raises(DlibFormatError):
        read_network(whole[: data.draw(st.integers(0, len(whole) - 1))])


def test_bytes_after_the_last_layer_are_refused() -> None:
    with pytest.raises(DlibFormatError, match="1 bytes are left over"):
        read_network(serialised([Relu()]) + b"\0")


def test_a_layer_of_another_kind_is_named() -> None:
    with pytest.raises(DlibFormatError, match="'tanh_' is not supported"):
        read_network(serialised([Relu()]).replace(text("relu_"), text("tanh_")))


def test_a_padded_first_convolution_is_refused_because_the_mean_cannot_be_folded() -> None:
    layer = Convolution(np.ones((1, 3, 3, 3), np.float32), np.ones(1, np.float32), 1, 1)
    with pytest.raises(DlibFormatError, match="padded"):
        run(Network(MEAN, (SIDE, SIDE), (layer,)), np.zeros((1, SIDE, SIDE, 3), np.uint8))
