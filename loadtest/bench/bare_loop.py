"""Bare processes, each on one core: how fast the same work is with nothing around it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from app.stages import stopwatch
from loadtest.bench.bare_faces import BareFaces, BareImages
from loadtest.bench.bare_models import Models, Sessions, TritonModels

# Images whose faces share batches of the embedding model, where throughput counts.
_TOGETHER = 8


@dataclass(frozen=True, slots=True)
class Loop:
    """What a loop did.

    Attributes:
        images: how many were embedded.
        rate: images a second of all processes together.
        processor: seconds of processor time.
        times: seconds of each image, where they were embedded one by one.
        stages: mean milliseconds of each stage of an image, likewise.
    """

    images: int
    rate: float
    processor: float
    times: tuple[float, ...] = ()
    stages: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class _Order:
    family: str
    files: Sequence[bytes]
    seconds: float
    together: int


class BareProcesses:
    """Processes that embed images.

    Args:
        repository: the model repository.
        cores: for each process the cores that it may use.
        triton: host:port of a Triton that runs the models; empty: sessions of their own.
    """

    def __init__(self, repository: Path, cores: Sequence[set[int]], *, triton: str = "") -> None:
        context = multiprocessing.get_context("spawn")
        self._ends: list[Connection] = []
        self._processes = []
        for own in cores:
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there, repository, own, triton), daemon=True)
            process.start()
            self._ends.append(here)
            self._processes.append(process)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for end in self._ends:
            end.close()
        for process in self._processes:
            process.join(10)

    @property
    def pids(self) -> list[int]:
        """Their process ids."""
        return [process.pid for process in self._processes if process.pid is not None]

    def throughput(self, family: str, files: Sequence[bytes], seconds: float) -> Loop:
        """All processes embed images at once, some at a time, for so long."""
        loops = self._asked(self._ends, _Order(family, files, seconds, _TOGETHER))
        return Loop(
            sum(loop.images for loop in loops),
            sum(loop.rate for loop in loops),
            sum(loop.processor for loop in loops),
        )

    def latency(self, family: str, files: Sequence[bytes], seconds: float) -> Loop:
        """One process embeds images one by one, for so long."""
        [loop] = self._asked(self._ends[:1], _Order(family, files, seconds, 1))
        return loop

    def faces_in(self, file: bytes) -> int:
        """How many faces an image shows."""
        return self.vectors("face", file)

    def vectors(self, family: str, file: bytes) -> int:
        """How many embeddings an image gives."""
        self._ends[0].send((family, file))
        return int(self._ends[0].recv())

    def _asked(self, ends: Sequence[Connection], order: _Order) -> list[Loop]:
        for end in ends:
            end.send(order)
        return [end.recv() for end in ends]


def _serve(end: Connection, repository: Path, cores: set[int], triton: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; this ends with the connection
    os.sched_setaffinity(0, cores)
    models: Models = TritonModels(triton) if triton else Sessions(repository)
    work: dict[str, Any] = {"face": BareFaces(models, repository), "image": BareImages(models, repository)}
    while True:
        try:
            order = end.recv()
        except EOFError:
            return
        if isinstance(order, _Order):
            end.send(_loop(work[order.family], order))
        else:
            family, file = order
            end.send(sum(len(vectors) for vectors in work[family].embeddings([file])))


def _loop(work: BareFaces | BareImages, order: _Order) -> Loop:
    work.embeddings(order.files[: order.together])  # the first call of a shape is slower
    began, used = time.perf_counter(), time.process_time()
    images = at = 0
    times: list[float] = []
    with stopwatch() as watch:
        while (now := time.perf_counter()) - began < order.seconds or images < len(order.files):
            chosen = [order.files[(at + number) % len(order.files)] for number in range(order.together)]
            work.embeddings(chosen)
            at += order.together
            images += order.together
            times.append(time.perf_counter() - now)
    seconds, used = time.perf_counter() - began, time.process_time() - used
    if order.together > 1:
        return Loop(images, images / seconds, used)
    stages = tuple((name.value, value / images) for name, value in watch.milliseconds.items())
    return Loop(images, images / seconds, used, tuple(times), stages)
