"""The roles that models play, and the tensors that each role promises to its callers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class Role(StrEnum):
    """A place that a model fills; its value is the model's name in Triton."""

    FACE_DETECTOR = "face_detector"
    FACE_QUALITY = "face_quality"
    FACE_EMBEDDER = "face_embedder"
    IMAGE_EMBEDDER = "image_embedder"


class Datatype(StrEnum):
    """Element types in use, in Triton's spelling."""

    UINT8 = "UINT8"
    FP32 = "FP32"


class QualityClass(StrEnum):
    """What a quality model tells apart, in the order of its output."""

    CLEAR = "clear"
    BLUR = "blur"
    COVER = "cover"
    POSE = "pose"


ANY: Final = -1
"""An axis whose length the network or the request decides, as Triton writes it."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output of a model.

    Attributes:
        name: its name in the graph and on the wire.
        datatype: its element type.
        dims: lengths of its axes without the leading batch axis, ``ANY`` where not fixed.
    """

    name: str
    datatype: Datatype
    dims: tuple[int, ...]

    def admits(self, other: Tensor) -> bool:
        """Whether ``other`` keeps this promise: same name and type, and every fixed axis the same."""
        return (
            (self.name, self.datatype, len(self.dims)) == (other.name, other.datatype, len(other.dims))
            and all(mine in (ANY, theirs) for mine, theirs in zip(self.dims, other.dims, strict=True))
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Contract:
    """What callers of a role may rely on, whichever network plays it."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


# Pixels are UINT8 RGB, [height, width, channel]. They travel as bytes because FP32 is four times
# the traffic; the graph does the normalising.
IMAGE: Final = "IMAGE"
FACE: Final = "FACE"

# Candidates, best first. BOXES are (x1, y1, x2, y2) and LANDMARKS five (x, y), all in input pixels:
# the person's right eye (on the image's left), left eye, nose tip, right and left mouth corner.
BOXES: Final = "BOXES"
SCORES: Final = "SCORES"
LANDMARKS: Final = "LANDMARKS"

# Probabilities of the classes of QualityClass, in their order.
QUALITY: Final = "QUALITY"

EMBEDDING: Final = "EMBEDDING"

CONTRACTS: Final[Mapping[Role, Contract]] = MappingProxyType(
    {
        Role.FACE_DETECTOR: Contract(
            inputs=(Tensor(IMAGE, Datatype.UINT8, (ANY, ANY, 3)),),
            outputs=(
                Tensor(BOXES, Datatype.FP32, (ANY, 4)),
                Tensor(SCORES, Datatype.FP32, (ANY,)),
                Tensor(LANDMARKS, Datatype.FP32, (ANY, 5, 2)),
            ),
        ),
        Role.FACE_QUALITY: Contract(
            inputs=(Tensor(FACE, Datatype.UINT8, (ANY, ANY, 3)),),
            outputs=(Tensor(QUALITY, Datatype.FP32, (len(QualityClass),)),),
        ),
        Role.FACE_EMBEDDER: Contract(
            inputs=(Tensor(FACE, Datatype.UINT8, (ANY, ANY, 3)),),
            outputs=(Tensor(EMBEDDING, Datatype.FP32, (ANY,)),),
        ),
        Role.IMAGE_EMBEDDER: Contract(
            inputs=(Tensor(IMAGE, Datatype.UINT8, (ANY, ANY, 3)),),
            outputs=(Tensor(EMBEDDING, Datatype.FP32, (ANY,)),),
        ),
    }
)
