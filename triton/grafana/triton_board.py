"""What the dashboard *Triton* shows: the reviewed source of ``dashboards/triton.json``."""

from __future__ import annotations

from triton.grafana.panels import Dashboard, Panel, Row, rate


def _per_request(series: str) -> dict[str, str]:
    """Mean of a cumulated time in microseconds, per request that Triton answered."""
    return {"{{model}}": f"{rate(series, 'model')} / {rate('nv_inference_request_success', 'model')}"}


GPU_PANELS = ("GPU use", "GPU memory", "GPU power")

TRITON = Dashboard(
    "likeness-triton",
    "Triton",
    "The inference server, by model, from its own metrics.",
    (
        Row(
            "Requests",
            (
                Panel(
                    "Requests",
                    "reqps",
                    "A request of the service is a batch.",
                    {"{{model}}": rate("nv_inference_request_success", "model")},
                ),
                Panel(
                    "Failures",
                    "reqps",
                    "By reason; CANCELED: the client of the service hung up.",
                    {"{{model}} {{reason}}": rate("nv_inference_request_failure", "model", "reason")},
                ),
                Panel(
                    "Inferences", "ops", "Items: images or faces.", {"{{model}}": rate("nv_inference_count", "model")}
                ),
                Panel(
                    "Items per execution",
                    "short",
                    "Inferences ÷ executions.",
                    {
                        "{{model}}": f"{rate('nv_inference_count', 'model')} "
                        f"/ {rate('nv_inference_exec_count', 'model')}"
                    },
                ),
                Panel(
                    "Pending requests",
                    "short",
                    "Not yet at work.",
                    {"{{model}}": "sum by (model) (nv_inference_pending_request_count)"},
                ),
            ),
        ),
        Row(
            "Time of a request, mean",
            (
                Panel("Whole", "µs", "Queue and all of the work.", _per_request("nv_inference_request_duration_us")),
                Panel(
                    "Queue",
                    "µs",
                    "More than the work itself: add instances or machines.",
                    _per_request("nv_inference_queue_duration_us"),
                ),
                Panel("Input", "µs", "Gathering the tensors.", _per_request("nv_inference_compute_input_duration_us")),
                Panel("Inference", "µs", "The network itself.", _per_request("nv_inference_compute_infer_duration_us")),
                Panel(
                    "Output", "µs", "Handing the tensors back.", _per_request("nv_inference_compute_output_duration_us")
                ),
            ),
        ),
        Row(
            "Machine",
            (
                Panel("CPU use", "percentunit", "Of the whole machine.", {"used": "max(nv_cpu_utilization)"}),
                Panel(
                    "Memory",
                    "bytes",
                    "Of the whole machine.",
                    {"used": "max(nv_cpu_memory_used_bytes)", "total": "max(nv_cpu_memory_total_bytes)"},
                ),
                Panel(
                    "Pinned memory pool",
                    "bytes",
                    "For copies to a GPU.",
                    {
                        "used": "sum(nv_pinned_memory_pool_used_bytes)",
                        "total": "sum(nv_pinned_memory_pool_total_bytes)",
                    },
                ),
                Panel(
                    "GPU use",
                    "percentunit",
                    "Empty without a GPU.",
                    {"{{gpu_uuid}}": "max by (gpu_uuid) (nv_gpu_utilization)"},
                ),
                Panel(
                    "GPU memory",
                    "bytes",
                    "Empty without a GPU.",
                    {
                        "{{gpu_uuid}} used": "max by (gpu_uuid) (nv_gpu_memory_used_bytes)",
                        "{{gpu_uuid}} total": "max by (gpu_uuid) (nv_gpu_memory_total_bytes)",
                    },
                ),
                Panel(
                    "GPU power",
                    "watt",
                    "Empty without a GPU.",
                    {"{{gpu_uuid}}": "max by (gpu_uuid) (nv_gpu_power_usage)"},
                ),
            ),
        ),
    ),
)
