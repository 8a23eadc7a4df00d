"""Metrics over HTTP."""

from __future__ import annotations

from app.access.key import KeyRole
from app.api.operations import Call, Operation, Text

_EXAMPLE = """# HELP likeness_http_requests_total Requests that ended.
# TYPE likeness_http_requests_total counter
likeness_http_requests_total{method="POST",route="/v1/face/groups/{name}/search",status="200"} 12.0
"""


def metrics_operations() -> list[Operation]:
    """The operation that Prometheus calls."""
    return [
        Operation(
            "GET",
            "/metrics",
            "metrics",
            "Health",
            "Counters, gauges and histograms for Prometheus",
            _metrics,
            str,
            answer_kind="text/plain",
            doc="In Prometheus' text format, or in OpenMetrics where `Accept` asks for it.",
            answer_example=_EXAMPLE,
            role=KeyRole.READ,
            all_groups=True,
        )
    ]


async def _metrics(call: Call) -> Text:
    return Text(*await call.services.metrics.text(call.accept))
