"""The benchmark's tables, in Markdown."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from loadtest.bench.measurements import DISTURBED, BatchCost, Machine, Measurement, Record, median, ratios
from loadtest.bench.targets import targets

_STAGES = ("fetch", "decode", "detect", "align", "quality", "embed", "search", "http")


def markdown(records: Sequence[Record]) -> str:
    """The whole document."""
    machines = [each for each in records if isinstance(each, Machine)]
    runs = [each for each in records if isinstance(each, Measurement)]
    batches = [each for each in records if isinstance(each, BatchCost)]
    parts = [
        _head(machines[-1], runs),
        _table(("target", "wanted", "measured", "met"), targets(runs, batches)),
        "![throughput beside the limit](results.svg)",
        "## Throughput and latency\n\n"
        "*Limit*: one bare process on each core with ONNX Runtime, the same files, decoding, alignment and batches, no "
        "HTTP, no Triton, no Milvus. *Bare*: one of them, image by image. *Direct*: the limit's processes, two on each "
        "core, with the models behind Triton. *CPU* is processor time of an image without the clients and the photo "
        "server; its ratio shows what the service adds, also where other work on the machine disturbs throughput.",
        _throughput(runs),
        "## Triton's path\n\nThe same batch through `tritonclient` and in a session, in turns.",
        _batch_costs(batches),
        "## Mean batch sizes\n\nInferences ÷ executions, from Triton's statistics.",
        _batch_sizes(runs),
        "## Processor time\n\nMilliseconds an image, by process.",
        _processor(runs),
        "## Where the time goes\n\nMilliseconds of a request in each stage; `http` is what the client sees beyond "
        "them: the connection, parsing, serialising. Stages overlap and include waiting for a place, so at 16 clients "
        "they tell where the queue is.",
        _stages(runs),
        _peer(machines[-1], runs),
    ]
    return "\n\n".join(parts) + "\n"


def _head(machine: Machine, runs: Sequence[Measurement]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    disturbed = [each for each in runs if each.others > DISTURBED]
    rounds = max(map(len, _groups(runs).values()), default=0)
    worst = max((each.others for each in runs), default=0.0)
    return (
        "# What the service makes of its machine\n\n"
        f"`make bench` reproduces this page. {machine.date}, {machine.processor}, {machine.cores} cores; {versions}. "
        f"Medians of up to {rounds} rounds, all ways in turns; ratios are made in each round. "
        "Clients and the photo server share these cores where the machine has no others. Photos are composed from "
        "portraits at run time: 640×480 and 4000×3000 pixels, JPEG quality 90, with a camera's grain. "
        f"Other work on the machine took more than {DISTURBED:.0%} of the cores during {len(disturbed)} of "
        f"{len(runs)} measurements (at most {worst:.0%})."
    )


def _groups(runs: Sequence[Measurement]) -> dict[tuple[object, ...], list[Measurement]]:
    found: dict[tuple[object, ...], list[Measurement]] = defaultdict(list)
    for each in runs:
        found[(*each.scene, each.way, each.source, each.clients)].append(each)
    order = {"limit": 0, "bare": 1, "direct": 2, "service": 3}
    return dict(sorted(found.items(), key=lambda item: (*item[0][:3], order.get(str(item[0][3]), 4), *item[0][4:])))


def _throughput(runs: Sequence[Measurement]) -> str:
    rows = []
    for (family, size, faces, way, source, clients), each in _groups(runs).items():
        if way == "peer":
            continue
        name = f"{way}, {source}, {clients}" if way == "service" else str(way)
        beside = [run for run in runs if run.way == ("bare" if way == "bare" else "limit")]
        latency = [median(run.latency.get(key, math.nan) for run in each) for key in ("p50", "p95", "p99")]
        bare = ratios(each, [run for run in runs if run.way == "bare"], lambda run: run.latency.get("p50", math.nan))
        rows.append(
            (
                f"{family} {size} {faces}",
                name,
                _number(median(run.rate for run in each)),
                _number(median(ratios(each, beside, lambda run: run.rate)), 2) if way != "bare" else "",
                *(_number(value, 0) for value in latency),
                _number(median(bare), 2) if way == "service" and clients == 1 else "",
                _number(median(run.engine_processor for run in each)),
                _number(median(1 / value for value in ratios(each, beside, lambda run: run.engine_processor)), 2),
                str(sum(sum(run.errors.values()) for run in each)),
            )
        )
    header = (
        "search, photos, faces", "way", "images/s", "÷ limit", "p50 ms", "p95 ms", "p99 ms", "p50 ÷ bare", "CPU ms",
        "limit's CPU ÷ its", "errors",
    )  # fmt: skip
    return _table(header, rows)


def _batch_costs(batches: Sequence[BatchCost]) -> str:
    found: dict[tuple[str, tuple[int, ...]], list[BatchCost]] = defaultdict(list)
    for each in batches:
        found[each.model, tuple(each.shape)].append(each)
    rows = [
        (
            model,
            "×".join(map(str, shape)),
            _number(median(cost.session for cost in costs)),
            _number(median(cost.triton for cost in costs)),
            _number(median(cost.triton / cost.session for cost in costs), 2),
        )
        for (model, shape), costs in found.items()
    ]
    return _table(("model", "batch", "session ms", "Triton ms", "ratio"), rows)


def _batch_sizes(runs: Sequence[Measurement]) -> str:
    return _by_service(runs, lambda run: run.batches, digits=2)


def _processor(runs: Sequence[Measurement]) -> str:
    return _by_service(runs, lambda run: run.processor, digits=1)


def _by_service(runs: Sequence[Measurement], values, *, digits: int) -> str:  # type: ignore[no-untyped-def]
    served = {key: each for key, each in _groups(runs).items() if key[3] == "service" and key[4] == "data"}
    names = sorted({name for each in served.values() for run in each for name in values(run)})
    rows = [
        (
            f"{family} {size} {faces}",
            str(clients),
            *(_number(median(values(run)[name] for run in each if name in values(run)), digits) for name in names),
        )
        for (family, size, faces, _, _, clients), each in served.items()
    ]
    return _table(("search, photos, faces", "clients", *names), rows)


def _stages(runs: Sequence[Measurement]) -> str:
    rows = []
    for (family, size, faces, way, source, clients), each in _groups(runs).items():
        if way == "bare" or (way == "service" and clients in (1, 16)):
            name = f"{way}, {source}, {clients}" if way == "service" else str(way)
            values = [median(run.stages[stage] for run in each if stage in run.stages) for stage in _STAGES]
            rows.append((f"{family} {size} {faces}", name, *(_number(value) for value in values)))
    return _table(("search, photos, faces", "way", *_STAGES), rows)


def _peer(machine: Machine, runs: Sequence[Measurement]) -> str:
    title = "## Beside `face_recognition`\n\n"
    if not machine.peer:
        return f"{title}The library is not installed here (its dlib is built for half an hour), so it was not measured."
    rows = [
        (
            f"{size} {faces}",
            _number(median(run.rate for run in each)),
            _number(median(run.latency["p50"] for run in each)),
        )
        for (_, size, faces, way, _, _), each in _groups(runs).items()
        if way == "peer"
    ]
    return title + _table(("photos, faces", "images/s", "p50 ms"), rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float, digits: int = 1) -> str:
    return "" if math.isnan(value) else f"{value:,.{digits}f}"
