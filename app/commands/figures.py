"""What capacity is counted with: every figure with its unit and where it is from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that was measured, read somewhere or chosen.

    Attributes:
        value: the number.
        unit: what it counts.
        source: the command that measured it and on what, the page it is from, or why it was chosen.
    """

    value: float
    unit: str
    source: str


SERVICE: Final = Figure(
    18.0,
    "core-ms an image",
    "measured: python -m loadtest.core_cost images, one face a photo, 640 pixels, 8 at once, on 2 cores of an AMD EPYC",
)
TRITON: Final = Figure(
    82.0,
    "core-ms an image",
    "measured: the same run; detector, close look and embedder on the CPU",
)
SEARCH: Final = Figure(
    1.5,
    "core-ms a segment",
    "measured: python -m loadtest.core_cost searches, 100,000 rows in 2 segments, 8 at once, Milvus 2.3.5 on the same",
)
RECORD: Final = Figure(
    580.0,
    "bytes a face",
    "measured: python -m loadtest.group_sizes, 1,333 bytes a row at 100,000 (docs/scale.md), less the others",
)
LAYER_LINKS: Final = Figure(
    4.0, "bytes a link", "hnswlib (hnswalg.h): a link is a 32-bit number, 2 M of them on the lowest layer, M above"
)
ELEMENT: Final = Figure(
    12.0, "bytes a face", "hnswlib (hnswalg.h): the number of links, 4 bytes, and the label, 8 bytes"
)
FULL: Final = Figure(
    0.9, "of a query node's memory", "Milvus: queryCoord.overloadedMemoryThresholdPercentage, 90 by default"
)
SEGMENT: Final = Figure(1024.0, "MiB", "Milvus: dataCoord.segment.maxSize, 1024 by default")
BUSY: Final = Figure(0.6, "of a core's time", "chosen: room for peaks, restarts and compaction")
STORED: Final = Figure(
    2.0, "of the sealed bytes", "chosen: compaction keeps what it replaces until garbage is collected"
)

ALL: Final[dict[str, Figure]] = {
    "service": SERVICE,
    "triton": TRITON,
    "search": SEARCH,
    "record": RECORD,
    "link": LAYER_LINKS,
    "element": ELEMENT,
    "full": FULL,
    "segment": SEGMENT,
    "busy": BUSY,
    "stored": STORED,
}
