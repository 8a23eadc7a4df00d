"""Health over HTTP."""

from __future__ import annotations

from app.api import schemas
from app.api.operations import Answer, Call, Operation
from app.services.health import OK

_TAG = "Health"


def health_operations() -> list[Operation]:
    """The operations that a load balancer calls."""
    return [
        Operation(
            "GET",
            "/health/live",
            "live",
            _TAG,
            "Whether the process answers",
            _live,
            schemas.Live,
            answer_example={"status": "live"},
            role=None,
        ),
        Operation(
            "GET",
            "/health/ready",
            "ready",
            _TAG,
            "Whether Triton's models and Milvus answer",
            _ready,
            schemas.Ready,
            doc="503 with the same shape when a part does not.",
            answers_503=True,
            answer_example={
                "status": "ready",
                "parts": {
                    "milvus": "ok",
                    "triton:face_detector": "ok",
                    "triton:face_embedder": "ok",
                    "triton:image_embedder": "ok",
                },
            },
            role=None,
        ),
    ]


async def _live(call: Call) -> schemas.Live:  # noqa: ARG001 (nothing is asked of it)
    return schemas.Live("live")


async def _ready(call: Call) -> Answer:
    parts = await call.services.health.parts()
    if all(state == OK for state in parts.values()):
        return Answer(schemas.Ready("ready", parts))
    return Answer(schemas.Ready("not ready", parts), status=503)
