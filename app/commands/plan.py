"""``likeness plan``: what a number of faces and of searches takes, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import asdict

from app.commands import figures
from app.commands.capacity import Demand, Plan, plan

_Say = Callable[[object], None]
_KIB = 1024


def add_plan_options(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    number, rate = _whole, _finite
    parser.add_argument("--faces", type=number, required=True, metavar="N", help="faces stored, e.g. 1e9")
    parser.add_argument("--qps", type=rate, required=True, metavar="N", help="images searched a second")
    for option, kind, default, text in (
        ("adds", rate, 0, "images added a second"),
        ("dimension", number, 128, "numbers in an embedding"),
        ("links", number, 16, "HNSW's M"),
        ("metadata", number, 256, "bytes of id, tag, desc and bounding box of a face"),
        ("faces-per-image", rate, 1, "faces searched per image"),
        ("searched", rate, 1, "share of the segments that a search looks into, less than 1 where it names tags"),
        ("copies", number, 1, "of every segment in memory"),
        ("node-gib", number, 64, "memory of a query node"),
        ("node-cores", number, 16, "cores of a query node"),
        ("service-cores", number, 2, "cores that a process of the service can keep busy"),
        ("triton-cores", number, 8, "cores of a Triton without a GPU"),
        ("segment-mib", number, 1024, "largest segment of Milvus"),
    ):
        parser.add_argument(f"--{option}", type=kind, default=default, metavar="N", help=f"{text} (default: {default})")
    of_gpu = "images a second of one GPU, as measured on yours (an H200's models alone could do 966: docs/gpu.md)"
    parser.add_argument("--gpu-images", type=rate, metavar="N", help=of_gpu)
    parser.add_argument("--json", action="store_true", help="print JSON, with all figures")
    parser.add_argument("--sources", action="store_true", help="print where each figure is from, too")


def print_plan(options: argparse.Namespace, say: _Say) -> None:
    """Prints the plan of what the options ask for.

    Raises:
        OperatorError: there can be no such demand.
    """
    demand = _demand(options)
    found = plan(demand)
    if options.json:
        document = {"demand": asdict(demand), "plan": _document(found)}
        document["figures"] = {name: asdict(figure) for name, figure in figures.ALL.items()}
        say(json.dumps(document, indent=2))
        return
    for line in _table(demand, found):
        say(line)
    if options.sources:
        say("")
        for name, figure in figures.ALL.items():
            say(f"{name:<10}{figure.value:>8g} {figure.unit}: {figure.source}")


def _whole(text: str) -> int:
    number = float(text)
    if not number.is_integer():
        raise argparse.ArgumentTypeError(f"{text} is no whole number")
    return int(number)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise argparse.ArgumentTypeError(f"{text} is no number to plan with")
    return number


def _demand(options: argparse.Namespace) -> Demand:
    return Demand(
        faces=options.faces,
        qps=options.qps,
        adds=options.adds,
        dimension=options.dimension,
        links=options.links,
        metadata=options.metadata,
        faces_per_image=options.faces_per_image,
        searched=options.searched,
        copies=options.copies,
        node_memory=options.node_gib * 2**30,
        node_cores=options.node_cores,
        service_cores=options.service_cores,
        triton_cores=options.triton_cores,
        gpu_images=options.gpu_images,
        segment=options.segment_mib * 2**20,
    )


def _document(found: Plan) -> dict[str, object]:
    document: dict[str, object] = asdict(found)
    document["face"] = asdict(found.face) | {"in_memory": found.face.in_memory, "stored": found.face.stored}
    return document


def _table(demand: Demand, found: Plan) -> list[str]:
    face, milvus, inference = found.face, found.milvus, found.inference
    triton = "on cores" if demand.gpu_images is None else f"{demand.gpu_images:,g} images/s a GPU"
    rows = [
        ("a face in memory", f"{face.in_memory:,.0f} bytes", _parts(found)),
        ("a face in object storage", f"{face.stored:,.0f} bytes", "row, index"),
        ("query nodes' memory", _bytes(milvus.memory), f"{_several(demand.copies, 'copy', 'copies')} of everything"),
        ("segments", f"{milvus.segments:,}", f"a search looks into {milvus.searched_segments:,}"),
        ("cores that search", f"{milvus.search_cores:,.1f}", "all the time"),
        ("query nodes", f"{milvus.nodes:,}", _nodes(demand, found)),
        ("object storage", _bytes(milvus.storage), "compaction's leftovers included"),
        ("the service's cores", f"{inference.service_cores:,.1f}", "all the time"),
        ("the service's replicas", f"{inference.service_replicas:,}", f"of {demand.service_cores} cores"),
        ("Triton's cores", f"{inference.triton_cores:,.1f}", "all the time"),
        ("Triton's replicas", f"{inference.triton_replicas:,}", _tritons(demand)),
    ]
    if demand.gpu_images is not None:
        del rows[-2]
    adds = f", {demand.adds:,g} added" if demand.adds else ""
    head = (
        f"{demand.faces:,} faces of {demand.dimension} numbers, {demand.qps:,g} images a second searched{adds}, "
        f"Triton {triton}"
    )
    return [head, "", *(f"{what:<26}{number:>16}   {how}" for what, number, how in rows)]


def _parts(found: Plan) -> str:
    face = found.face
    return f"vector {face.vector}, graph {face.graph:.0f}, texts {face.metadata}, record {face.record:.0f}"


def _nodes(demand: Demand, found: Plan) -> str:
    size = f"of {_bytes(demand.node_memory)} and {demand.node_cores} cores"
    return f"{size}: {found.milvus.nodes_for_memory:,} for memory, {found.milvus.nodes_for_cores:,} for cores"


def _tritons(demand: Demand) -> str:
    return f"of {demand.triton_cores} cores" if demand.gpu_images is None else "of one GPU"


def _several(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _bytes(number: float) -> str:
    units = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
    power = min(int(math.log(max(number, 1), _KIB)), len(units) - 1)
    return f"{number / _KIB**power:,.1f} {units[power]}"
