"""What the dashboard *Likeness* shows: the reviewed source of ``dashboards/likeness.json``."""

from __future__ import annotations

from triton.grafana.panels import Dashboard, Panel, Row, mean, quantile, rate

_REQUESTS = "likeness_http_requests_total"
_REQUEST_TIME = "likeness_http_request_duration_seconds"
_API = 'route=~"/v1/.*"'
_FAILED = _API + ', status=~"5.."'

LIKENESS = Dashboard(
    "likeness",
    "Likeness",
    "The service: traffic, errors, where time goes, and what fills up.",
    (
        Row(
            "Traffic and errors",
            (
                Panel(
                    "Requests",
                    "reqps",
                    "Answers per second by route; the path's template, never the path.",
                    {"{{method}} {{route}}": rate(_REQUESTS, "route", "method")},
                    stacked=True,
                ),
                Panel(
                    "Answers by status", "reqps", "499: the client hung up.", {"{{status}}": rate(_REQUESTS, "status")}
                ),
                Panel(
                    "Share of 5xx",
                    "percentunit",
                    "Of all answers of the API: over 5 % for five minutes is an alert.",
                    {"5xx": f"({rate(_REQUESTS, where=_FAILED)} or vector(0)) / {rate(_REQUESTS, where=_API)}"},
                ),
                Panel(
                    "Errors by code",
                    "reqps",
                    "The `code` of the answers.",
                    {"{{code}}": rate("likeness_http_errors_total", "code")},
                ),
                Panel(
                    "Refused with 429",
                    "reqps",
                    "By the limit that was reached: settings of that name, or more machines, let more in.",
                    {"{{reason}}": rate("likeness_http_rejected_total", "reason")},
                ),
            ),
        ),
        Row(
            "Latency",
            (
                Panel(
                    "Time of requests",
                    "s",
                    "All calls of the API.",
                    {
                        "median": quantile(0.5, _REQUEST_TIME, where=_API),
                        "p95": quantile(0.95, _REQUEST_TIME, where=_API),
                        "p99": quantile(0.99, _REQUEST_TIME, where=_API),
                    },
                ),
                Panel(
                    "p95 by route",
                    "s",
                    "Which calls are slow.",
                    {"{{method}} {{route}}": quantile(0.95, _REQUEST_TIME, "route", "method", where=_API)},
                ),
                Panel(
                    "p95 of stages",
                    "s",
                    "Waiting for a place counts.",
                    {"{{stage}}": quantile(0.95, "likeness_stage_duration_seconds", "stage")},
                ),
                Panel(
                    "Time in stages",
                    "s",
                    "Seconds of stages per second: where the time of all requests together goes.",
                    {"{{stage}}": rate("likeness_stage_duration_seconds_sum", "stage")},
                    stacked=True,
                ),
            ),
        ),
        Row(
            "Batches",
            (
                Panel(
                    "Items per batch",
                    "short",
                    "Grows with the load; 1 is an idle service.",
                    {"{{model}}": mean("likeness_model_batch_items", "model")},
                ),
                Panel(
                    "p95 of the wait for a batch",
                    "s",
                    "Over a second for five minutes is an alert.",
                    {"{{model}}": quantile(0.95, "likeness_model_queue_wait_seconds", "model")},
                ),
                Panel(
                    "Items waiting",
                    "short",
                    "At LIKENESS_BATCH_QUEUE requests get a 429.",
                    {"{{model}}": "sum by (model) (likeness_model_queue_items)"},
                ),
                Panel(
                    "Batches sent to Triton",
                    "ops",
                    "By what became of them.",
                    {"{{model}} {{outcome}}": rate("likeness_triton_requests_total", "model", "outcome")},
                ),
                Panel(
                    "p95 of Triton's answers",
                    "s",
                    "Seen from the service, the way included.",
                    {"{{model}}": quantile(0.95, "likeness_triton_request_duration_seconds", "model")},
                ),
                Panel(
                    "Models",
                    "short",
                    "1 for what is served now.",
                    {"{{model}}: {{model_id}}": "max by (model, model_id) (likeness_model_info)"},
                ),
            ),
        ),
        Row(
            "Milvus",
            (
                Panel(
                    "Calls",
                    "ops",
                    "By operation.",
                    {"{{operation}}": rate("likeness_milvus_requests_total", "operation")},
                    stacked=True,
                ),
                Panel(
                    "Calls by outcome",
                    "ops",
                    "unavailable: no answer; refused: a wrong call (get_server_version once, by Milvus Lite).",
                    {"{{outcome}}": rate("likeness_milvus_requests_total", "outcome")},
                ),
                Panel(
                    "p95 of calls",
                    "s",
                    "Retries included.",
                    {"{{operation}}": quantile(0.95, "likeness_milvus_request_duration_seconds", "operation")},
                ),
                Panel(
                    "Groups",
                    "short",
                    "All, and those whose rows have been counted.",
                    {
                        "{{family}}": "max by (family) (likeness_groups)",
                        "{{family}}, counted": "max by (family) (likeness_groups_counted)",
                    },
                ),
                Panel(
                    "Rows",
                    "short",
                    "Of the groups that have been counted.",
                    {"{{family}}": "max by (family) (likeness_group_rows)"},
                ),
            ),
        ),
        Row(
            "Images and imports",
            (
                Panel(
                    "Images fetched",
                    "ops",
                    "By how and by what became of it.",
                    {"{{source}} {{outcome}}": rate("likeness_fetches_total", "source", "outcome")},
                ),
                Panel(
                    "p95 of fetches",
                    "s",
                    "Hosts of images that are slow.",
                    {"{{source}}": quantile(0.95, "likeness_fetch_duration_seconds", "source")},
                ),
                Panel(
                    "Bytes fetched",
                    "Bps",
                    "Encoded images.",
                    {"{{source}}": rate("likeness_fetched_bytes_total", "source")},
                ),
                Panel(
                    "Decoders lost",
                    "ops",
                    "Processes that an image crashed, that it kept for too long, or that were killed from outside.",
                    {"{{reason}}": rate("likeness_decoders_lost_total", "reason")},
                ),
                Panel("Imports", "short", "By where they are.", {"{{state}}": "sum by (state) (likeness_jobs)"}),
                Panel(
                    "Images of imports",
                    "ops",
                    "By outcome.",
                    {"{{outcome}}": rate("likeness_job_images_total", "outcome")},
                ),
            ),
        ),
        Row(
            "Saturation",
            (
                Panel(
                    "Requests at work",
                    "short",
                    "All, and those that infer.",
                    {
                        "all": "sum(likeness_http_requests_in_flight)",
                        "inference": "sum(likeness_permits_used)",
                        "images of imports": "sum(likeness_background_images)",
                    },
                ),
                Panel(
                    "Permits used",
                    "percentunit",
                    "At 100 % requests get a 429.",
                    {"used": "sum(likeness_permits_used) / sum(likeness_permits)"},
                ),
                Panel(
                    "Memory budgets used",
                    "percentunit",
                    "A full one makes images wait; full bodies are a 429.",
                    {
                        "{{budget}}": "sum by (budget) (likeness_memory_held_bytes) "
                        "/ sum by (budget) (likeness_memory_budget_bytes)"
                    },
                ),
                Panel(
                    "Cores",
                    "short",
                    "Of the service itself; a worker process has one core for its event loop.",
                    {"cores": 'sum(rate(process_cpu_seconds_total{job="likeness"}[$__rate_interval]))'},
                ),
                Panel(
                    "Memory",
                    "bytes",
                    "Of the service itself.",
                    {"resident": 'sum(process_resident_memory_bytes{job="likeness"})'},
                ),
                Panel(
                    "Files and sockets",
                    "percentunit",
                    "Of those that may be open.",
                    {"open": 'sum(process_open_fds{job="likeness"}) / sum(process_max_fds{job="likeness"})'},
                ),
                Panel(
                    "Versions",
                    "short",
                    "What runs.",
                    {"{{version}}, Python {{python}}": "max by (version, python) (likeness_build_info)"},
                ),
            ),
        ),
    ),
)
