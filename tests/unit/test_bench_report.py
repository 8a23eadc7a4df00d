"""The benchmark's arithmetic: ratios within a round, targets, and documents that hold what was measured."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from msgspec import structs

from loadtest.bench.measurements import BatchCost, Machine, Measurement, Record, ratios, read, write
from loadtest.bench.plot import bench_svg
from loadtest.bench.processor_time import ProcessorTime
from loadtest.bench.report import markdown
from loadtest.bench.targets import targets


def run(way: str, round: int, rate: float, *, clients: int = 0, p50: float = 0.0) -> Measurement:
    return Measurement(
        way=way,
        round=round,
        family="face",
        size="640",
        faces=1,
        source="data" if way == "service" else "",
        clients=clients,
        images=100,
        rate=rate,
        latency={"p50": p50, "p95": p50, "p99": 5 * p50},
        processor={"model face_detector": 60.0, "service": 20.0, "clients": 1.0},
        stages={"detect": 50.0},
    )


RECORDS: list[Record] = [
    Machine("2026-01-01", "some processor", 2, {"likeness": "1"}, False),
    BatchCost(1, "face_embedder", [8, 150, 150, 3], 40.0, 42.0),
    BatchCost(1, "face_embedder", [1, 150, 150, 3], 8.0, 80.0),
    *(run("limit", number, 20.0 * number) for number in (1, 2, 3)),
    *(run("bare", number, 10.0, p50=100.0) for number in (1, 2, 3)),
    *(run("service", number, 19.0 * number, clients=16) for number in (1, 2, 3)),
    *(run("service", number, 9.0, clients=1, p50=150.0) for number in (1, 2, 3)),
    run("service", 1, 16.0, clients=64, p50=4000.0),
]


def test_ratios_are_made_within_a_round() -> None:
    runs = [each for each in RECORDS if isinstance(each, Measurement)]
    limit, busy = (
        [each for each in runs if (each.way, each.clients) == kind] for kind in (("limit", 0), ("service", 16))
    )
    assert ratios(busy, limit, lambda each: each.rate) == [0.95, 0.95, 0.95]


def test_a_target_says_what_was_measured_and_whether_that_meets_it() -> None:
    runs = [each for each in RECORDS if isinstance(each, Measurement)]
    rows = targets(runs, [each for each in RECORDS if isinstance(each, BatchCost)])
    assert [row[2:] for row in rows] == [
        ("0.95", "yes"),
        ("1.00", "yes"),  # processor time, without that of the clients
        ("not measured", ""),  # images
        ("not measured", ""),
        ("1.50", "no"),
        ("1.05", "yes"),  # the batch of one does not count
        ("5.00", "no"),  # 20 s at the 99th percentile, where 64 ÷ 16 are 4 s
        ("0.00", "yes"),
    ]


def test_what_depends_on_the_clock_is_not_judged_where_others_were_at_work() -> None:
    runs = [structs.replace(each, others=0.4) for each in RECORDS if isinstance(each, Measurement)]
    told = [row[3] for row in targets(runs, [])]
    assert (told[0], told[1]) == ("cannot be told: others were at work", "yes")


def test_measurements_are_read_back_as_they_were_kept(tmp_path: Path) -> None:
    write(tmp_path / "kept" / "bench.jsonl", RECORDS[:3])
    write(tmp_path / "kept" / "bench.jsonl", RECORDS[3:])
    assert read(tmp_path / "kept" / "bench.jsonl") == RECORDS


def test_the_documents_show_every_way_and_the_plot_every_point() -> None:
    text = markdown(RECORDS)
    for name in ("| face 640 1 | limit |", "| face 640 1 | service, data, 16 | 38.0 | 0.95 |", "8×150×150×3"):
        assert name in text
    drawn = ET.fromstring(bench_svg(RECORDS))
    assert len(drawn.findall(".//{http://www.w3.org/2000/svg}circle")) == 3


def test_what_others_took_is_what_the_watched_processes_did_not() -> None:
    before, after = ProcessorTime({"service": 1.0}, 10.0), ProcessorTime({"service": 3.0, "clients": 0.5}, 13.0)
    assert after.since(before) == {"service": 2.0, "clients": 0.5}
    assert after.others_since(before) == 0.5
