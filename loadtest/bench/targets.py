"""What the service shall reach, as ratios within one run, and what it reached."""

from __future__ import annotations

import math
from collections.abc import Sequence

from loadtest.bench.measurements import BatchCost, Measurement, median, ratios


def targets(runs: Sequence[Measurement], batches: Sequence[BatchCost]) -> list[tuple[str, str, str, str]]:
    """Rows of a table: the target, its bound, what was measured, and whether that meets it."""
    limit, bare = (
        [run for run in runs if run.way == way and (run.size, run.faces) == ("640", 1)] for way in ("limit", "bare")
    )
    face16 = median(ratios(_served(runs, "face", 16), limit, lambda run: run.rate))
    image16 = median(ratios(_served(runs, "image", 16), limit, lambda run: run.rate))
    face1 = median(ratios(_served(runs, "face", 1), bare, lambda run: run.latency["p50"]))
    path = median(cost.triton / cost.session for cost in batches if cost.shape[0] >= 8)
    crowd = [run for run in runs if run.way == "service" and run.clients == 64]
    slowest = median(run.latency["p99"] / 1000 / (64 / run.rate) for run in crowd)
    failed = sum(sum(run.errors.values()) for run in crowd)
    return [
        _row("face search, 640 pixels, 16 clients: throughput ÷ limit", face16, least=0.90),
        _row("image search, 640 pixels, 16 clients: throughput ÷ limit", image16, least=0.80),
        _row("face search, 640 pixels, 1 client: p50 ÷ the bare loop's", face1, most=1.25),
        _row("Triton's path ÷ a session, batches of 8 and more", path, most=1.10),
        _row("64 clients: p99 ÷ (64 ÷ throughput)", slowest, most=3.0),
        _row("64 clients: failed requests", float(failed) if crowd else math.nan, most=0),
    ]


def _served(runs: Sequence[Measurement], family: str, clients: int) -> list[Measurement]:
    return [
        run
        for run in runs
        if run.way == "service"
        and (run.family, run.size, run.faces, run.source, run.clients) == (family, "640", 1, "data", clients)
    ]


def _row(
    name: str, value: float, *, least: float | None = None, most: float | None = None
) -> tuple[str, str, str, str]:
    wanted = f"≥ {least:g}" if least is not None else f"≤ {most:g}"
    if math.isnan(value):
        return name, wanted, "not measured", ""
    met = value >= least if least is not None else most is not None and value <= most
    return name, wanted, f"{value:.2f}", "yes" if met else "no"
