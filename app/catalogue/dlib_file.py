"""Reads dlib's serialised ResNet (``dlib_face_recognition_resnet_model_v1.dat``) into plain layers.

The format is defined by dlib's own sources (dlib/serialize.h, dlib/dnn/core.h, dlib/dnn/layers.h).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

INFINITE_EXPONENTS: Final = {32000: math.inf, 32001: -math.inf, 32002: math.nan}


class DlibFormatError(ValueError):
    """The bytes are no dlib network of the supported layers."""


@dataclass(frozen=True, slots=True, eq=False)
class Convolution:
    """Kernel [out, in, height, width] and bias [out]."""

    kernel: Floats
    bias: Floats
    stride: int
    padding: int


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """A factor and a shift for each channel: batch normalisation, frozen."""

    factor: Floats
    shift: Floats


@dataclass(frozen=True, slots=True)
class Relu:
    """max(x, 0)."""


@dataclass(frozen=True, slots=True)
class Pooling:
    """Maximum or average over windows without padding; ``window`` 0 means the whole plane."""

    kind: str
    window: int
    stride: int


@dataclass(frozen=True, slots=True)
class Add:
    """Adds a remembered value (which one, the file does not say) to the running one."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A tag or a skip: remembers or recalls a value; the file does not say which of the two."""


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """Weights [in, out] without a bias."""

    weights: Floats


Layer = Convolution | Affine | Relu | Pooling | Add | Mark | Linear


@dataclass(frozen=True, slots=True)
class Network:
    """A network's layers from its input up.

    Attributes:
        mean: subtracted from RGB pixels (0-255), before a division by 256.
        size: input height and width in pixels.
        layers: the layers, in the order in which they are computed.
    """

    mean: tuple[float, float, float]
    size: tuple[int, int]
    layers: tuple[Layer, ...]


def read_network(data: bytes) -> Network:
    """Reads a network that was trained with dlib's metric loss.

    Raises:
        DlibFormatError: truncated, of another kind, or bytes are left over.
    """
    reader = _Reader(data)
    reader.integer()
    reader.expect("loss_metric_2")
    reader.real()  # margin and
    reader.real()  # distance threshold of the training loss
    versions = reader.versions()
    reader.expect("input_rgb_image_sized")
    mean = (reader.real(), reader.real(), reader.real())
    size = (reader.integer(), reader.integer())
    layers: list[Layer] = []
    for depth, version in enumerate(reversed(versions)):
        if version == 1 and depth > 0:
            layers.append(Mark())
            continue
        layers.append(reader.layer())
        for _ in range(3):
            reader.boolean()
        for _ in range(3):  # gradients and cached output
            reader.tensor()
        if depth == 0 and version >= 3:
            reader.integer()
    if reader.left:
        raise DlibFormatError(f"{reader.left} bytes are left over after the last layer")
    return Network(mean, size, tuple(layers))


@dataclass(slots=True)
class _Reader:
    """A cursor over the bytes."""

    data: bytes
    at: int = field(default=0)

    @property
    def left(self) -> int:
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        if not 0 <= count <= self.left:
            raise DlibFormatError(f"{count} bytes are wanted at {self.at}, {self.left} are left")
        self.at += count
        return self.data[self.at - count : self.at]

    def integer(self) -> int:
        """Bit 7 of the control byte is the sign, the low four bits count the magnitude's bytes."""
        control = self.take(1)[0]
        if control & 0x70 or control & 0x0F > 8:
            raise DlibFormatError(f"{control:#04x} at {self.at - 1} starts no integer")
        magnitude = int.from_bytes(self.take(control & 0x0F), "little")
        return -magnitude if control & 0x80 else magnitude

    def real(self) -> float:
        """A mantissa, then the exponent of two."""
        mantissa, exponent = self.integer(), self.integer()
        if exponent in INFINITE_EXPONENTS:
            return INFINITE_EXPONENTS[exponent]
        return math.ldexp(mantissa, exponent)

    def boolean(self) -> bool:
        value = self.take(1)
        if value not in (b"0", b"1"):
            raise DlibFormatError(f"{value!r} at {self.at - 1} is no boolean")
        return value == b"1"

    def text(self) -> str:
        return self.take(self.integer()).decode("latin-1")

    def expect(self, name: str) -> None:
        found = self.text()
        if found != name:
            raise DlibFormatError(f"{name} is expected, {found!r} was found")

    def versions(self) -> list[int]:
        """The nested layers' version numbers, outermost first; a text's longer length ends them."""
        found: list[int] = []
        while True:
            start = self.at
            version = self.integer()
            if not 1 <= version <= 3:
                self.at = start
                return found
            found.append(version)

    def dims(self) -> tuple[int, ...]:
        dims = tuple(self.integer() for _ in range(4))
        if min(dims) < 0:
            raise DlibFormatError(f"{dims} before {self.at} are no tensor's dimensions")
        return dims

    def tensor(self) -> Floats:
        if self.integer() != 2:
            raise DlibFormatError(f"no tensor of version 2 before {self.at}")
        dims = self.dims()
        return np.frombuffer(self.take(4 * math.prod(dims)), "<f4").astype(np.float32).reshape(dims)

    def window(self) -> tuple[int, ...]:
        """The shape of a part of the parameters before it."""
        if self.integer() != 1:
            raise DlibFormatError(f"no tensor of version 1 before {self.at}")
        return self.dims()

    def layer(self) -> Layer:
        name = self.text()
        if name == "con_4":
            return self.convolution()
        if name == "affine_":
            return self.affine()
        if name == "relu_":
            return Relu()
        if name in ("max_pool_2", "avg_pool_2"):
            return self.pooling(name[:3])
        if name == "add_prev_":
            return Add()
        if name == "fc_2":
            return self.linear()
        raise DlibFormatError(f"layer {name!r} is not supported")

    def rates(self, count: int) -> None:
        """Learning rate and weight decay multipliers: of use in training only."""
        for _ in range(count):
            self.real()

    def convolution(self) -> Convolution:
        parameters = self.tensor().ravel()
        self.integer()  # filters
        height, width, stride_y, stride_x, padding_y, padding_x = (self.integer() for _ in range(6))
        shape, bias_shape = self.window(), self.window()
        self.rates(4)
        if shape[2:] != (height, width) or stride_y != stride_x or padding_y != padding_x:
            raise DlibFormatError(f"a convolution before {self.at} is not square")
        count = math.prod(shape)
        return Convolution(
            parameters[:count].reshape(shape),
            parameters[count : count + math.prod(bias_shape)],
            stride_y,
            padding_y,
        )

    def affine(self) -> Affine:
        parameters = self.tensor().ravel()
        count = math.prod(self.window())
        self.window()
        self.integer()  # mode: convolutional
        return Affine(parameters[:count], parameters[count : 2 * count])

    def pooling(self, kind: str) -> Pooling:
        height, width, stride_y, stride_x, padding_y, padding_x = (self.integer() for _ in range(6))
        if height != width or stride_y != stride_x or padding_y or padding_x:
            raise DlibFormatError(f"a pooling before {self.at} is not square and unpadded")
        return Pooling(kind, height, stride_y)

    def linear(self) -> Linear:
        outputs, inputs = self.integer(), self.integer()
        parameters = self.tensor().ravel()
        self.window()
        self.window()
        self.integer()  # mode: without bias
        self.rates(4)
        return Linear(parameters[: inputs * outputs].reshape(inputs, outputs))
