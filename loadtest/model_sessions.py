"""Opens a model in ONNX Runtime in several ways, runs it from several threads, says where its nodes are computed."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any, Final

# Before the import: the package reports its use to its makers unless told not to.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

CUDA: Final = "CUDAExecutionProvider"
CPU: Final = "CPUExecutionProvider"
_LEAST_RUNS = 3


@dataclass(frozen=True, slots=True)
class Way:
    """How a model is computed.

    Attributes:
        name: what tables call it.
        provider: CUDA or CPU.
        tf32: whether products of 32-bit numbers may be rounded to TF32's 10 bits of mantissa.
        half: whether the graph is converted to 16-bit numbers.
        search: how cuDNN's algorithms are chosen for a shape seen first; ONNX Runtime's own choice is to try all.
        threads: of a session on cores; 0: all.
    """

    name: str
    provider: str
    tf32: bool = True
    half: bool = False
    search: str = "EXHAUSTIVE"
    threads: int = 1


@dataclass(frozen=True, slots=True)
class Speed:
    """What sessions did at once.

    Attributes:
        milliseconds: of a call, the median, with all copies.
        items: a second, of all sessions together.
    """

    milliseconds: float
    items: float


@dataclass(frozen=True, slots=True)
class Change:
    """What it costs that a call's input has another shape than that of the call before.

    Attributes:
        changed: milliseconds of a call after a change: the median of each of two shapes, of both the mean.
        repeated: of a call of the same shape again, likewise.
    """

    changed: float
    repeated: float


def opened(model: bytes, way: Way, profile: Path | None = None) -> ort.InferenceSession:
    """A session; one that was to run on a GPU and does not is an error, where ONNX Runtime would only warn.

    Raises:
        SystemExit: CUDA does not work here.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = way.threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # as the service's backend
    options.log_severity_level = 3
    if profile is not None:
        options.enable_profiling = True
        options.profile_file_prefix = str(profile)
    providers: list[Any] = [CPU]
    if way.provider == CUDA:
        settings = {"use_tf32": str(int(way.tf32)), "cudnn_conv_algo_search": way.search}
        providers.insert(0, (CUDA, settings))
    session = ort.InferenceSession(model, options, providers=providers)
    if session.get_providers()[0] != way.provider:
        message = f"{way.provider} was asked for and {session.get_providers()} is what the session has."
        raise SystemExit(message)
    return session


def halved(model: bytes) -> bytes:
    """The model with 16-bit weights and activations, inputs and outputs as before.

    Raises:
        ImportError: the converter, a part of ONNX Runtime, is missing.
    """
    from onnxruntime.transformers.float16 import convert_float_to_float16  # noqa: PLC0415 (many servers lack it)

    graph = onnx.load_model_from_string(model)
    return bytes(convert_float_to_float16(graph, keep_io_types=True).SerializeToString())


def speed(sessions: Sequence[ort.InferenceSession], batch: NDArray[Any], seconds: float) -> Speed:
    """Runs a batch in all sessions at once, each from a thread of its own, for so long."""
    name = sessions[0].get_inputs()[0].name
    times: list[list[float]] = [[] for _ in sessions]
    failures: list[Exception] = []
    start = threading.Barrier(len(sessions) + 1)

    def work(session: ort.InferenceSession, kept: list[float]) -> None:
        try:
            session.run(None, {name: batch})  # the first call of a shape chooses algorithms
            start.wait()
            end = time.perf_counter() + seconds
            while time.perf_counter() < end or len(kept) < _LEAST_RUNS:
                began = time.perf_counter()
                session.run(None, {name: batch})
                kept.append(time.perf_counter() - began)
        except Exception as error:  # told by the caller's thread
            failures.append(error)
            start.abort()

    threads = [threading.Thread(target=work, args=each) for each in zip(sessions, times, strict=True)]
    for thread in threads:
        thread.start()
    try:
        start.wait()
    except threading.BrokenBarrierError:
        raise failures[0] from None
    began = time.perf_counter()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    every = [each for kept in times for each in kept]
    return Speed(median(every) * 1000, len(every) * len(batch) / (time.perf_counter() - began))


def alternated(session: ort.InferenceSession, batches: tuple[NDArray[Any], NDArray[Any]], seconds: float) -> Change:
    """Runs each of two batches twice, turn and turn about, for so long; the session has seen both shapes before."""
    name = session.get_inputs()[0].name
    changed: tuple[list[float], ...] = ([], [])
    repeated: tuple[list[float], ...] = ([], [])
    session.run(None, {name: batches[1]})
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(changed[0]) < _LEAST_RUNS:
        for number, batch in enumerate(batches):
            for kept in (changed, repeated):
                began = time.perf_counter()
                session.run(None, {name: batch})
                kept[number].append(time.perf_counter() - began)
    return Change(mean(map(median, changed)) * 1000, mean(map(median, repeated)) * 1000)


def outputs(session: ort.InferenceSession, items: NDArray[Any], together: int) -> dict[str, NDArray[Any]]:
    """The outputs of many items, some of them together."""
    tensor, names = session.get_inputs()[0].name, [each.name for each in session.get_outputs()]
    parts = [session.run(names, {tensor: items[at : at + together]}) for at in range(0, len(items), together)]
    return {name: np.concatenate(each) for name, each in zip(names, zip(*parts, strict=True), strict=True)}


def placement(model: bytes, way: Way, batch: NDArray[Any]) -> dict[str, int]:
    """How many nodes of the graph, as ONNX Runtime has rewritten it, each provider computes; CPU's by operator."""
    with tempfile.TemporaryDirectory() as folder:
        session = opened(model, way, Path(folder) / "profile")
        session.run(None, {session.get_inputs()[0].name: batch})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            facts = event["args"]
            provider = facts.get("provider", "")
            nodes[provider if provider == way.provider else f"{provider} {facts.get('op_name')}"] += 1
    return dict(nodes)


def used_memory() -> float | None:
    """MiB of the first GPU's memory in use, by whomever; None where nvidia-smi is missing."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return float(answer.splitlines()[0])
