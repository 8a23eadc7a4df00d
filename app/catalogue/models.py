"""The default set: which network plays each role, what it is made from and what callers must know of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from app.catalogue.roles import CONTRACTS, EMBEDDING, FACE, IMAGE, QUALITY, Datatype, QualityClass, Role, Tensor
from app.catalogue.sources import CENTERFACE, DLIB_RESNET, Source

# The chip that dlib's ResNet was trained on: 150×150, a quarter of a face's side left around dlib's
# mean shape of five points (dlib/image_transforms/interpolation.h, get_face_chip_details): 25 + 100·p.
DLIB_TEMPLATE: Final = (
    (47.5492, 46.599),
    (100.4761, 46.599),
    (74.0127, 76.5625),
    (50.4149, 103.0233),
    (97.6104, 103.0233),
)

# score = sigmoid(slope·(midpoint - L2) + offset): 0.45 lies at an L2 of 0.55, where 97 % of the pairs
# of one person and none of 3,666 pairs of two persons are closer.
DLIB_CALIBRATION: Final = {"kind": "sigmoid", "slope": 14, "midpoint": 0.55, "offset": -0.2007}

# score = max(0, (cosine - floor) / (1 - floor))^exponent: 0.3 lies at a cosine of 0.471, which 1.2 in
# 1,000 of 685,938 pairs of photos and regions of different photos reach, and 7 in 1,000 of 1,243 pairs
# of whole photos (many are portraits cut alike). One in 10,000 reaches 0.591, a score of 0.43.
CENTERFACE_LDA_CALIBRATION: Final = {"kind": "power", "floor": 0, "exponent": 1.6}

# A face is small under 40 pixels of its box's shorter side. The turn of its landmarks (app/vision/quality.py) from
# which it is a pose although the model finds it clear: of 119 photographed faces of 50 pixels or more, 118 have a yaw
# of 0.27 or less, and the one of 0.35 is turned and lowered; the five smaller faces over 0.3 are turned by 35 to 55°
# to the eye. Heads turned on pictures by 30° have 0.2 in the middle, by 45° 0.37, by 60° 0.67. The detector's landmarks
# hardly follow a head that is raised or lowered (0.1 at 45°; 0.13 occurs on frontal faces): the model has to see that.
QUALITY_RULES: Final = {"small_side": "40", "pose_yaw": "0.3", "pose_pitch": "0.2"}


@dataclass(frozen=True, slots=True)
class Model:
    """A network that plays a role.

    Attributes:
        role: the role; also the model's name in Triton.
        model_id: names the embedding space. Whatever changes the numbers that come out changes it,
            because rows stored under another id can no longer be compared.
        revision: of the code that writes the graph; a higher one makes an older file be rebuilt.
        source: the package file that holds the weights.
        origin: the same in words, for people.
        licence: SPDX identifier.
        weights_sha256: checksum of the weights as published; of what the project trained where that is put on them,
            because that decides the numbers and the archive's checksum already stands for the rest.
        inputs: the graph's inputs, as this network narrows the role's contract.
        outputs: the graph's outputs, likewise.
        max_batch: the largest batch that Triton may form.
        parameters: what the service must know to use this network, as strings.
    """

    role: Role
    model_id: str
    revision: int
    source: Source
    origin: str
    licence: str
    weights_sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    max_batch: int
    parameters: Mapping[str, str]

    @property
    def facts(self) -> dict[str, str]:
        """What identifies the model, as kept in its configuration and in the ONNX file's metadata."""
        return {
            "model_id": self.model_id,
            "source": self.origin,
            "licence": self.licence,
            "weights_sha256": self.weights_sha256,
        }


DETECTOR: Final = Model(
    role=Role.FACE_DETECTOR,
    model_id="centerface",
    revision=1,
    source=CENTERFACE,
    origin=str(CENTERFACE),
    licence=CENTERFACE.licence,
    weights_sha256=CENTERFACE.member_sha256,
    inputs=CONTRACTS[Role.FACE_DETECTOR].inputs,
    outputs=CONTRACTS[Role.FACE_DETECTOR].outputs,
    max_batch=8,
    parameters=MappingProxyType(
        {
            "input_long_side": "640",
            "input_multiple": "32",
            "score_threshold": "0.5",
            "nms_iou": "0.3",
        }
    ),
)

FACE_QUALITY: Final = Model(
    role=Role.FACE_QUALITY,
    model_id="dlib-relu-quality-1",
    revision=1,
    source=DLIB_RESNET,
    origin=f"{DLIB_RESNET}, early layers; head trained by the project",
    licence="CC0-1.0 AND Apache-2.0",
    weights_sha256="decbe001097415ef04f394df0cb6c7c1c72385eb927cbc6f5827b3ea54180ec3",
    inputs=(Tensor(FACE, Datatype.UINT8, (150, 150, 3)),),
    outputs=(Tensor(QUALITY, Datatype.FP32, (len(QualityClass),)),),
    max_batch=32,
    parameters=MappingProxyType(
        {
            "input_size": "150",
            "alignment_template": json.dumps(DLIB_TEMPLATE),
            **QUALITY_RULES,
        }
    ),
)

FACE_EMBEDDER: Final = Model(
    role=Role.FACE_EMBEDDER,
    model_id="dlib-resnet-v1",
    revision=1,
    source=DLIB_RESNET,
    origin=str(DLIB_RESNET),
    licence=DLIB_RESNET.licence,
    weights_sha256=DLIB_RESNET.member_sha256,
    inputs=(Tensor(FACE, Datatype.UINT8, (150, 150, 3)),),
    outputs=(Tensor(EMBEDDING, Datatype.FP32, (128,)),),
    max_batch=32,
    parameters=MappingProxyType(
        {
            "input_size": "150",
            "alignment_template": json.dumps(DLIB_TEMPLATE),
            "box_center_shift": "0.077",
            "box_scale": "1.089",
            "metric": "L2",
            "calibration": json.dumps(DLIB_CALIBRATION),
        }
    ),
)

IMAGE_EMBEDDER: Final = Model(
    role=Role.IMAGE_EMBEDDER,
    model_id="centerface-lda-384",
    revision=1,
    source=CENTERFACE,
    origin=f"{CENTERFACE}, early layers; projection trained by the project",
    licence="MIT AND Apache-2.0",
    weights_sha256="f5aa201f9aa02bfe6504ca224745a94baad6c60dca0c2f465ea6e5058659421c",
    inputs=(Tensor(IMAGE, Datatype.UINT8, (256, 256, 3)),),
    outputs=(Tensor(EMBEDDING, Datatype.FP32, (384,)),),
    max_batch=32,
    parameters=MappingProxyType(
        {
            "input_size": "256",
            "metric": "COSINE",
            "calibration": json.dumps(CENTERFACE_LDA_CALIBRATION),
        }
    ),
)

DEFAULT_MODELS: Final[tuple[Model, ...]] = (DETECTOR, FACE_QUALITY, FACE_EMBEDDER, IMAGE_EMBEDDER)
