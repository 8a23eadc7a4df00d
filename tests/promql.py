"""What the dashboards and the alerts ask Prometheus, read from the files that are served."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import yaml

from tests.running_service import ROOT

PROMETHEUS_FOLDER = ROOT / "triton" / "prometheus"
_DASHBOARDS = ROOT / "triton" / "grafana" / "dashboards"

# Triton's own names (https://docs.nvidia.com/deeplearning/triton-inference-server/user-guide/docs/user_guide/metrics.html),
# compared with the real server's by the end-to-end test, but for those of a GPU.
TRITON_SERIES = {
    "nv_cpu_memory_total_bytes",
    "nv_cpu_memory_used_bytes",
    "nv_cpu_utilization",
    "nv_inference_compute_infer_duration_us",
    "nv_inference_compute_input_duration_us",
    "nv_inference_compute_output_duration_us",
    "nv_inference_count",
    "nv_inference_exec_count",
    "nv_inference_pending_request_count",
    "nv_inference_queue_duration_us",
    "nv_inference_request_duration_us",
    "nv_inference_request_failure",
    "nv_inference_request_success",
    "nv_pinned_memory_pool_total_bytes",
    "nv_pinned_memory_pool_used_bytes",
}
TRITON_GPU_SERIES = {
    "nv_gpu_memory_total_bytes",
    "nv_gpu_memory_used_bytes",
    "nv_gpu_power_usage",
    "nv_gpu_utilization",
}


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One line of one graph."""

    dashboard: str
    panel: str
    query: str


def _panels() -> list[PanelQuery]:
    found = []
    for path in sorted(_DASHBOARDS.glob("*.json")):
        board = json.loads(path.read_text(encoding="utf-8"))
        for panel in board["panels"]:
            found += [PanelQuery(board["title"], panel["title"], each["expr"]) for each in panel.get("targets", [])]
    return found


def _alerts() -> dict[str, dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS_FOLDER / "alerts.yml").read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


PANELS = _panels()
ALERTS = _alerts()
