"""Health over HTTP."""

from __future__ import annotations

from msgspec import UNSET, UnsetType

from app.api import schemas
from app.api.operations import Answer, Call, Operation
from app.services.health import OK
from app.store.partition_keys import EngineFacts

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
            doc="503 with the same shape when a part does not. Of several Triton servers some may be down.",
            answers_503=True,
            answer_example={
                "status": "ready",
                "parts": {
                    "milvus": "ok",
                    "triton:face_detector": "ok",
                    "triton:face_embedder": "ok",
                    "triton:image_embedder": "ok",
                },
                "details": {
                    "milvus": {
                        "engine": "Milvus",
                        "version": "v2.6.4",
                        "partition_keys": {"on": True, "why": "A trial on Milvus v2.6.4 went right in 1.4 s."},
                    },
                },
            },
            role=None,
        ),
    ]


async def _live(call: Call) -> schemas.Live:  # noqa: ARG001 (nothing is asked of it)
    return schemas.Live("live")


async def _ready(call: Call) -> Answer:
    health = call.services.health
    parts = await health.parts()
    tritons, details = health.tritons() or UNSET, _details(health.milvus())
    if all(state == OK for state in parts.values()):
        return Answer(schemas.Ready("ready", parts, tritons, details))
    return Answer(schemas.Ready("not ready", parts, tritons, details), status=503)


def _details(facts: EngineFacts | None) -> schemas.ReadyDetails | UnsetType:
    if facts is None:
        return UNSET
    decision = facts.partition_keys
    return schemas.ReadyDetails(
        schemas.MilvusDetails(
            facts.engine,
            facts.version if facts.version is not None else UNSET,
            schemas.PartitionKeys(decision.on, decision.why) if decision is not None else UNSET,
        )
    )
