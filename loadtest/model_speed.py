"""How fast the models run in ONNX Runtime on this machine, on a GPU or on cores, and how far their outputs move.

python -m loadtest.model_inputs build/model_inputs.npz     # without it, noise is computed and no difference told
python -m loadtest.model_speed --provider cuda --inputs build/model_inputs.npz --half --json build/model_speed.json
python -m loadtest.model_speed --provider cpu --sessions 1 2

The first way in which models are computed is measured with several sessions at once, as the instances of a Triton are,
the others with one. Latency is the median of a call with its copies. Each way is also measured where the shape of the
input changes between two that were seen before. A GPU that was asked for and is not used is an error.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from app.catalogue.layout import CONFIG_FILE, MODEL_FILE
from app.catalogue.roles import FACE, IMAGE, Role
from loadtest.model_differences import differences
from loadtest.model_sessions import CPU, CUDA, Way, alternated, halved, opened, outputs, placement, speed, used_memory
from loadtest.model_tables import Measured, tables

_Inputs = Mapping[str, NDArray[Any]]

_FRAME, _CLOSE_UP = (480, 640), (192, 192)
_CASES: Final[Mapping[Role, Mapping[tuple[int, int], tuple[int, ...]]]] = {
    Role.FACE_DETECTOR: {_FRAME: (1, 2, 4, 8), _CLOSE_UP: (1, 2, 4, 8)},
    Role.FACE_QUALITY: {(150, 150): (1, 8, 16, 32, 64)},
    Role.FACE_EMBEDDER: {(150, 150): (1, 8, 16, 32, 64)},
    Role.IMAGE_EMBEDDER: {(256, 256): (1, 8, 16, 32, 64)},
}
_TOGETHER = 8  # items of a batch whose outputs are compared


def main() -> None:
    """Reads the arguments, measures, prints tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--provider", choices=("cuda", "cpu"), required=True)
    parser.add_argument("--repository", type=Path, default=Path("model_repository"))
    parser.add_argument("--inputs", type=Path, help="what loadtest.model_inputs wrote")
    parser.add_argument("--sessions", type=int, nargs="+", default=[1, 2, 4], help="at once, of the first way")
    parser.add_argument("--seconds", type=float, default=0.4, help="of each measurement")
    parser.add_argument("--within", type=float, default=600.0, help="seconds; each model has its share of them")
    parser.add_argument("--half", action="store_true", help="also with 16-bit numbers")
    parser.add_argument("--beyond", action="store_true", help="also batches beyond what the configurations allow")
    parser.add_argument("--json", type=Path, help="file for all that was measured")
    arguments = parser.parse_args()
    inputs = dict(np.load(arguments.inputs)) if arguments.inputs else {}
    found: list[Measured] = []
    began = time.monotonic()
    if arguments.provider == "cuda" and hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # CUDA from Python's packages, where it is not the system's
    print(f"ONNX Runtime {ort.__version__}, {', '.join(ort.get_available_providers())}", flush=True)
    ways = _ways(arguments.provider, half=arguments.half)
    turns = [(way, role) for way in ways for role in Role]
    shares = np.cumsum([len(arguments.sessions) if way == ways[0] else 1 for way, _ in turns])
    for (way, role), share in zip(turns, shares / shares[-1], strict=True):
        one = Measured(role.value, way.name)
        found.append(one)
        try:
            counts = arguments.sessions if way == ways[0] else [1]
            until = began + arguments.within * share
            _measure(one, role, way, counts=counts, arguments=arguments, inputs=inputs, until=until)
        except Exception as error:  # what can be measured is, and what cannot is told
            one.failure = f"{type(error).__name__}: {error}"
        print(f"{one.model}, {one.way}: {one.failure or 'measured'}", flush=True)
        if arguments.json:
            arguments.json.write_text(json.dumps([asdict(each) for each in found], indent=1), encoding="utf-8")
    print("\n".join(tables(found)))
    sys.exit(any(one.failure for one in found if one.way == ways[0].name))


def _ways(provider: str, *, half: bool) -> list[Way]:
    if provider == "cpu":
        return [Way("FP32", CPU), *([Way("FP16", CPU, half=True)] if half else [])]
    ways = [Way("TF32", CUDA), Way("FP32", CUDA, tf32=False)]
    ways += [Way("FP16", CUDA, half=True)] if half else []
    return [*ways, Way("TF32, algorithms by rule", CUDA, search="HEURISTIC")]


def _measure(
    one: Measured,
    role: Role,
    way: Way,
    *,
    counts: Sequence[int],
    arguments: argparse.Namespace,
    inputs: _Inputs,
    until: float,
) -> None:
    model = (arguments.repository / role / MODEL_FILE).read_bytes()
    plain, model = model, halved(model) if way.half else model
    config = (arguments.repository / role / CONFIG_FILE).read_text(encoding="utf-8")
    most = 64 if arguments.beyond else _largest_batch(config)
    before = used_memory() if way.provider == CUDA else None
    began = time.perf_counter()
    sessions = [opened(model, way)]
    one.opening = time.perf_counter() - began
    batches = dict(_batches(role, most, inputs))
    for pair in changes(list(batches)):
        if time.monotonic() > until:
            break
        for name in pair:
            _call_first(one, sessions[0], name, batches[name])
        two = (batches[pair[0]], batches[pair[1]])
        one.changes[" / ".join(pair)] = alternated(sessions[0], two, arguments.seconds)
    for count in counts:
        sessions += [opened(model, way) for _ in range(count - len(sessions))]
        for name, batch in batches.items():
            if time.monotonic() > until:
                one.failure = "not measured in full: its time was up"
                break
            _call_first(one, sessions[0], name, batch)
            one.speeds.setdefault(name, {})[count] = speed(sessions[:count], batch, arguments.seconds)
        after = used_memory() if before is not None else None
        if before is not None and after is not None:
            one.memory[count] = after - before
    one.nodes = placement(model, way, next(iter(batches.values())))
    for sides in _CASES[role]:
        items = inputs.get(kept_as(role, sides))
        if items is not None and (way.provider == CUDA or way.half):
            reference = outputs(opened(plain, Way("CPU", CPU, threads=0)), items, _TOGETHER)
            moved = differences(role, reference, outputs(sessions[0], items, _TOGETHER))
            one.moved |= {f"{_size(sides)} {what}": value for what, value in moved.items()}


def _call_first(one: Measured, session: ort.InferenceSession, name: str, batch: NDArray[Any]) -> None:
    if name not in one.first:
        began = time.perf_counter()
        session.run(None, {session.get_inputs()[0].name: batch})
        one.first[name] = (time.perf_counter() - began) * 1000


def changes(names: Sequence[str]) -> list[tuple[str, str]]:
    """The first batch beside the next larger one, and beside the first one of each other size.

    Args:
        names: of batches: a size and the number of items.
    """
    others: dict[str, str] = {}
    for name in names[1:]:
        others.setdefault(name.partition(" ")[0], name)
    return [(names[0], other) for other in others.values()]


def _largest_batch(config: str) -> int:
    """Read as text: where only models are measured, what reads Triton's schema is not installed."""
    found = re.search(r"^max_batch_size: (\d+)$", config, re.MULTILINE)
    assert found, "a configuration says how many items a call may have"
    return int(found.group(1))


def _batches(role: Role, most: int, inputs: _Inputs) -> Iterator[tuple[str, NDArray[Any]]]:
    """Batches of what the model is really asked, or of noise, with their names."""
    for sides, sizes in _CASES[role].items():
        items = inputs.get(kept_as(role, sides))
        if items is None:
            items = np.random.default_rng(7).integers(0, 256, (8, *sides, 3), dtype=np.uint8)
        for size in sizes:
            if size <= most:
                yield f"{_size(sides)} {size}", np.ascontiguousarray(items[np.arange(size) % len(items)])


def kept_as(role: Role, sides: tuple[int, ...]) -> str:
    """The name that `loadtest.model_inputs` gives an array; quality and embedding look at the same chips."""
    tensor = IMAGE if role in (Role.FACE_DETECTOR, Role.IMAGE_EMBEDDER) else FACE
    return f"{tensor}_{_size(sides)}"


def _size(sides: tuple[int, ...]) -> str:
    return f"{sides[0]}x{sides[1]}"


if __name__ == "__main__":
    main()
