"""What the benchmark measured, as it is kept between runs: one JSON object a line."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec
import numpy as np

DISTURBED = 0.05
"""Share of the cores' time that other processes may take before a measurement counts as disturbed."""


class Machine(msgspec.Struct, tag="machine", frozen=True):
    """Where and with what a run was made."""

    date: str
    processor: str
    cores: int
    versions: dict[str, str]
    peer: bool


class Measurement(msgspec.Struct, tag="run", frozen=True, kw_only=True):
    """One run of one way to embed images.

    Attributes:
        way: ``limit`` (bare processes, one a core), ``bare`` (one of them, image by image), ``direct`` (the same with
            their models behind Triton), ``service`` or ``peer``.
        round: measurements of one round are compared.
        family: ``face`` or ``image``.
        size: of the photos.
        faces: on each photo.
        source: ``data`` or ``http``, of the service.
        clients: at work at the same time.
        images: how many were embedded.
        rate: images a second.
        latency: milliseconds of an image: ``p50``, ``p95``, ``p99``.
        processor: milliseconds of processor time of an image, by process.
        batches: mean batch size of each model.
        stages: mean milliseconds of each stage of an image.
        others: share of the cores' time that other processes of the machine took.
        errors: how many calls failed, by error.
    """

    way: str
    round: int
    family: str
    size: str
    faces: int
    source: str = ""
    clients: int = 0
    images: int = 0
    rate: float = 0.0
    latency: dict[str, float] = {}
    processor: dict[str, float] = {}
    batches: dict[str, float] = {}
    stages: dict[str, float] = {}
    others: float = 0.0
    errors: dict[str, int] = {}

    @property
    def scene(self) -> tuple[str, str, int]:
        """What ways are compared on."""
        return self.family, self.size, self.faces

    @property
    def engine_processor(self) -> float:
        """Milliseconds of processor time of an image, without the clients and the host of the photos."""
        return sum(value for name, value in self.processor.items() if name not in ("clients", "photo host"))


class BatchCost(msgspec.Struct, tag="batch", frozen=True):
    """What one batch takes: medians of milliseconds, taken in turns."""

    round: int
    model: str
    shape: list[int]
    session: float
    triton: float


Record = Machine | Measurement | BatchCost


def write(path: Path, records: Iterable[Record]) -> None:
    """Appends records."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        for record in records:
            file.write(msgspec.json.encode(record) + b"\n")


def read(path: Path) -> list[Record]:
    """All records of a file, in order."""
    return [msgspec.json.decode(line, type=Record) for line in path.read_bytes().splitlines() if line]


def quantiles(seconds: Sequence[float]) -> dict[str, float]:
    """The latencies that a table shows, in milliseconds."""
    values = np.percentile(seconds, [50, 95, 99]) * 1000
    return dict(zip(("p50", "p95", "p99"), values.tolist(), strict=True))


def median(values: Iterable[float]) -> float:
    """The median; NaN of none."""
    found = list(values)
    return float(np.median(found)) if found else float("nan")


def ratios(
    above: Iterable[Measurement], below: Iterable[Measurement], value: Callable[[Measurement], float]
) -> list[float]:
    """The ratio of each measurement to the one of the same round and scene."""
    beside = {(each.round, each.scene): value(each) for each in below}
    return [value(each) / beside[each.round, each.scene] for each in above if beside.get((each.round, each.scene))]
