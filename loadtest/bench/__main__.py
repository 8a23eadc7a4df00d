"""How close the service comes to the limit of its machine: the same models and the same work in bare processes.

python -m loadtest.bench                                   # everything, into loadtest/RESULTS.md and results.svg
python -m loadtest.bench --quick                           # a minute, to see that it works
python -m loadtest.bench --families face --scenes 640-1 --clients 1 16 --rounds 5    # a part of it

Photos are composed from portraits in --photos (default: ../shared/photos). Every run starts a service of its own, with
its Triton and its database; LIKENESS_TEST_TRITON_PYTHON names the interpreter of Triton's environment.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from loadtest.bench import machine, report
from loadtest.bench.bare_loop import BareProcesses
from loadtest.bench.measurements import Measurement, read, write
from loadtest.bench.photo_host import PhotoHost
from loadtest.bench.photos import Scene, compose
from loadtest.bench.plot import bench_svg
from loadtest.bench.processor_time import triton_url
from loadtest.bench.rounds import Plan, Rounds, Stand
from tests.photos import PHOTOS
from tests.running_service import ROOT, RunningService

_SCENES = ("640-1", "640-8", "12mp-1", "12mp-8")
_PHOTOS = {"640": 24, "12mp": 6}
_FEW_PHOTOS = 8
# Processes that call Triton directly, a core: one waits while the other's batch is at work.
_CALLERS = 2


def main() -> None:
    """Reads the arguments, measures, writes the table and the plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder of portraits")
    parser.add_argument("--cores", type=int, default=2, help="cores that the service and the bare processes use")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0, help="of one measurement, at least")
    parser.add_argument("--families", nargs="+", choices=("face", "image"), default=("face", "image"))
    parser.add_argument("--scenes", nargs="+", choices=_SCENES, default=_SCENES, help="size and faces of the photos")
    parser.add_argument("--sources", nargs="+", choices=("data", "http"), default=("data", "http"))
    parser.add_argument("--clients", nargs="+", type=int, default=(1, 4, 16, 64))
    parser.add_argument("--retries", type=int, default=2, help="of a measurement that other processes disturbed")
    parser.add_argument("--quick", action="store_true", help="one short round of a few of them, to see that it works")
    parser.add_argument("--raw", type=Path, default=ROOT / "build" / "bench.jsonl", help="where measurements are kept")
    parser.add_argument("--append", action="store_true", help="keep the measurements that are there, and add to them")
    parser.add_argument("--table", type=Path, help="Markdown file to write; default: loadtest/RESULTS.md, quick: none")
    parser.add_argument("--only-report", action="store_true", help="measure nothing: write the table and the plot anew")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.seconds, arguments.retries = 1, 0.5, 0
        arguments.scenes, arguments.clients = ("640-1",), (1, 16)
    if not arguments.only_report:
        _measure(arguments)
    records = read(arguments.raw)
    text = report.markdown(records)
    print(text)
    table: Path | None = arguments.table
    if table is None and not arguments.quick:
        table = ROOT / "loadtest" / "RESULTS.md"
    if table is not None:
        table.write_text(text, encoding="utf-8")
        table.with_name("results.svg").write_text(bench_svg(records), encoding="utf-8")


def _measure(arguments: argparse.Namespace) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    used = allowed[: arguments.cores]
    # Clients get cores of their own where there are any left.
    rest = set(allowed[len(used) :]) or set(used)
    scenes = [Scene(size, int(faces)) for size, faces in (name.split("-") for name in arguments.scenes)]
    plan = Plan(arguments.families, scenes, arguments.sources, arguments.clients, arguments.seconds, arguments.retries)
    if not arguments.append:
        arguments.raw.unlink(missing_ok=True)
    first = 1 + max((each.round for each in _kept(arguments.raw)), default=0)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        repository = ROOT / "model_repository"
        bare = stack.enter_context(BareProcesses(repository, [{core} for core in used]))
        count = {size: min(number, _FEW_PHOTOS) if arguments.quick else number for size, number in _PHOTOS.items()}
        photos = {scene: compose(arguments.photos, scene, count[scene.size], bare.faces_in) for scene in scenes}
        files = {f"{s.size}-{s.faces}-{n}": file for s, each in photos.items() for n, file in enumerate(each)}
        host = stack.enter_context(PhotoHost(files, rest))
        os.sched_setaffinity(0, used)  # for the service, which inherits it
        service = stack.enter_context(RunningService(folder / "data", fetch_allow_networks="127.0.0.0/8"))
        os.sched_setaffinity(0, rest)
        triton = triton_url(service.descendants())
        direct = stack.enter_context(BareProcesses(repository, [set(used)] * _CALLERS * len(used), triton=triton))
        stand = Stand(service, triton, repository, bare, direct, host, photos, len(used))
        rounds = Rounds(stand, plan, _tell)
        rounds.enrol()
        write(arguments.raw, [machine.described(len(used))])
        for number in range(first, first + arguments.rounds):
            for measured in rounds.round(number):
                write(arguments.raw, [measured])


def _kept(raw: Path) -> Sequence[Measurement]:
    return [each for each in read(raw) if isinstance(each, Measurement)] if raw.exists() else []


def _tell(each: Measurement) -> None:
    name = f"{each.family} {each.size}-{each.faces} {each.way} {each.source} {each.clients or ''}"
    latency = " ".join(f"{key} {value:.0f}" for key, value in each.latency.items())
    print(
        f"{each.round:>2} {name:<34} {each.rate:7.2f}/s {sum(each.processor.values()):6.1f} ms CPU, "
        f"others {each.others:4.0%} {latency} {each.errors or ''}",
        flush=True,
    )


if __name__ == "__main__":
    main()
