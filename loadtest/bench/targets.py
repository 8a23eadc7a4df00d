"""What the service shall reach, as ratios within one run, and what it reached."""

from __future__ import annotations

import math
from collections.abc import Sequence

from loadtest.bench.measurements import DISTURBED, BatchCost, Measurement, median, ratios


def targets(runs: Sequence[Measurement], batches: Sequence[BatchCost]) -> list[tuple[str, str, str, str]]:
    """Rows of a table: the target, its bound, what was measured, and whether that meets it.

    What depends on the clock is neither met nor missed where others had too much of the cores. Processor time tells
    the same of throughput: where all cores are busy, images a second are cores over processor time of an image.
    """
    limit, bare = (
        [run for run in runs if run.way == way and (run.size, run.faces) == ("640", 1)] for way in ("limit", "bare")
    )
    rows = []
    for family, least in (("face", 0.90), ("image", 0.80)):
        served = _served(runs, family, 16)
        disturbed = _disturbed([*served, *limit])
        used = [1 / ratio for ratio in ratios(served, limit, lambda run: run.engine_processor)]
        name = f"{family} search, 640 pixels, 16 clients: "
        rate = median(ratios(served, limit, lambda run: run.rate))
        rows.append(_row(f"{name}throughput ÷ the limit's", rate, least=least, disturbed=disturbed))
        rows.append(_row(f"{name}the limit's processor time ÷ the service's", median(used), least=least))
    alone = _served(runs, "face", 1)
    slower = median(ratios(alone, bare, lambda run: run.latency["p50"]))
    name = "face search, 640 pixels, 1 client: p50 ÷ the bare loop's"
    rows.append(_row(name, slower, most=1.25, disturbed=_disturbed([*alone, *bare])))
    path = median(cost.triton / cost.session for cost in batches if cost.shape[0] >= 8)
    rows.append(_row("Triton's path ÷ a session, batches of 8 and more", path, most=1.10))
    crowd = [run for run in runs if run.way == "service" and run.clients == 64]
    slowest = median(run.latency["p99"] / 1000 / (64 / run.rate) for run in crowd)
    failed = sum(sum(run.errors.values()) for run in crowd)
    rows.append(_row("64 clients: p99 ÷ (64 ÷ throughput)", slowest, most=3.0))
    rows.append(_row("64 clients: failed requests", float(failed) if crowd else math.nan, most=0))
    return rows


def _disturbed(runs: Sequence[Measurement]) -> bool:
    return median(run.others for run in runs) > DISTURBED


def _served(runs: Sequence[Measurement], family: str, clients: int) -> list[Measurement]:
    return [
        run
        for run in runs
        if run.way == "service"
        and (run.family, run.size, run.faces, run.source, run.clients) == (family, "640", 1, "data", clients)
    ]


def _row(
    name: str, value: float, *, least: float | None = None, most: float | None = None, disturbed: bool = False
) -> tuple[str, str, str, str]:
    wanted = f"≥ {least:g}" if least is not None else f"≤ {most:g}"
    if math.isnan(value):
        return name, wanted, "not measured", ""
    if disturbed:
        return name, wanted, f"{value:.2f}", "cannot be told: others were at work"
    met = value >= least if least is not None else most is not None and value <= most
    return name, wanted, f"{value:.2f}", "yes" if met else "no"
