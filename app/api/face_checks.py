"""Looking at faces without any group, over HTTP."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from app.access.key import KeyRole
from app.api import face_schemas, validation
from app.api.examples import FACE_BOX, FACE_QUALITY
from app.api.found_faces import face_quality
from app.api.operations import Call, Operation
from app.api.rows import bounding_box
from app.errors import FetchFailed, FetchTimeout, NoFace
from app.services.face_check import SeenFace

_DECIMALS = 1


def face_check_operations() -> list[Operation]:
    """The operations that need no group."""
    return [
        Operation(
            "POST",
            "/v1/face/detect",
            "detectFaces",
            "Faces",
            "Find faces, and say what they are worth",
            _detect,
            face_schemas.DetectResults,
            body=face_schemas.DetectFaces,
            doc="Boxes, landmarks, quality and orientation of all faces; nothing is stored. A face whose box has a "
            "shorter side under the quality model's limit (40 pixels by default) is `small`.",
            errors=(FetchFailed, FetchTimeout),
            inference=True,
            body_example={"images": ["https://example.com/ada.jpg"]},
            answer_example={
                "detect_results": [
                    {
                        "faces": [
                            {
                                "bounding_box": FACE_BOX,
                                "landmarks": {
                                    "right_eye": [203.4, 116.0],
                                    "left_eye": [245.2, 113.9],
                                    "nose": [226.3, 138.7],
                                    "right_mouth_corner": [209.2, 160.3],
                                    "left_mouth_corner": [243.7, 158.8],
                                },
                                "face_quality": FACE_QUALITY,
                            }
                        ]
                    }
                ]
            },
            role=KeyRole.READ,
        ),
        Operation(
            "POST",
            "/v1/face/verify",
            "verifyFaces",
            "Faces",
            "Compare the largest faces of two images",
            _verify,
            face_schemas.VerifyResult,
            body=face_schemas.VerifyFaces,
            doc="How alike the largest face of one image is to the largest of the other; nothing is stored.",
            errors=(NoFace, FetchFailed, FetchTimeout),
            inference=True,
            body_example={"images": ["https://example.com/ada.jpg", "https://example.com/ada2.jpg"]},
            answer_example={
                "score": 0.93,
                "same": True,
                "threshold": 0.45,
                "faces": [{"bounding_box": FACE_BOX}, {"bounding_box": FACE_BOX}],
            },
            role=KeyRole.READ,
        ),
    ]


async def _detect(call: Call) -> face_schemas.DetectResults:
    uris = validation.images(call.body.images, most=call.settings.search_max_images)
    images = await call.services.face_check.detect(uris)
    return face_schemas.DetectResults(
        detect_results=[face_schemas.DetectedFaces([_shape(face) for face in faces]) for faces in images]
    )


async def _verify(call: Call) -> face_schemas.VerifyResult:
    uris = validation.two_images(call.body.images)
    threshold = call.settings.face_threshold if call.body.threshold is None else call.body.threshold
    found = await call.services.face_check.verify(uris)
    return face_schemas.VerifyResult(
        score=found.score,
        same=found.score >= threshold,
        threshold=threshold,
        faces=[face_schemas.VerifiedFace(bounding_box(box)) for box in found.bounding_boxes],
    )


def _shape(face: SeenFace) -> face_schemas.DetectedFace:
    points = (_point(point) for point in face.landmarks)
    return face_schemas.DetectedFace(
        bounding_box(face.bounding_box), face_schemas.Landmarks(*points), face_quality(face.quality)
    )


def _point(point: NDArray[np.float32]) -> list[float]:
    return [round(float(value), _DECIMALS) for value in point]
