"""Compares two made groups on Milvus Lite and prints how long it takes beside FAISS on the same arrays in memory.

FAISS (`faiss-cpu`) is no requirement: without it a bare product with the nearest of each row stands in.

python -m loadtest.compare_groups --rows 10000 --dimension 128
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import resource
import tempfile
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.embedded.milvus import EmbeddedMilvus
from app.inference.models import EmbedderSpec
from app.services.budget import MemoryBudget
from app.services.closest import Block, Closest
from app.services.compare import Compare
from app.services.rows import Terms, embedding_space
from app.services.threads import in_thread
from app.store.groups import GroupStore
from app.store.records import BoundingBox, Family, Metric, Record, Row

_BOX = BoundingBox(((0, 0), (9, 0), (9, 9), (0, 9)), 0.9)
CALIBRATION = {"kind": "sigmoid", "slope": 14, "midpoint": 0.55, "offset": -0.2007}
_PHOTOS_PER_PERSON = 4
_ROWS_AT_ONCE = 500
_ROUNDS = 3
_THRESHOLD = 0.45
_BOUND = 0.55  # the distance that the threshold stands for
_LIMIT = 5
_BASE_ROWS, _TARGET_ROWS = 4096, 1024  # as the comparison takes them
HAS_FAISS = importlib.util.find_spec("faiss") is not None


def main() -> None:
    """Reads the arguments and runs the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of each group")
    parser.add_argument("--dimension", type=int, default=128, help="numbers of each embedding")
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.rows, arguments.dimension))


async def _run(rows: int, dimension: int) -> None:
    spec = EmbedderSpec("made", 1, 1, 150, dimension, "L2", CALIBRATION, ())
    groups = _vectors(rows, dimension)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            EmbeddedMilvus(data_dir=folder / "data", log_dir=folder / "logs") as milvus,
            GroupStore(uri=milvus.uri, prefix="made", embedded=True, timeout_s=60) as store,
        ):
            for group, vectors in groups.items():
                await store.create(Family.FACE, group, capacity=rows, space=embedding_space(spec))
                await fill(store, group, vectors, name=lambda number, group=group: f"{group}/{number:08d}.jpg")  # type: ignore[misc]
            await _measure(store, spec, groups)


async def _measure(store: GroupStore, spec: EmbedderSpec, groups: dict[str, NDArray[np.float32]]) -> None:
    async def spec_of_faces() -> EmbedderSpec:
        return spec

    with ThreadPoolExecutor(1) as threads:
        comparison = Compare(store, spec_of_faces, threads, MemoryBudget(256 << 20))

        async def compare() -> tuple[int, int]:
            faces = hits = 0
            async for portion in comparison.compare("base", "target", Terms(_THRESHOLD, _LIMIT)):
                faces += len(portion)
                hits += sum(len(face.hits) for face in portion)
            return faces, hits

        async def read() -> None:
            for group in groups:
                after: str | None = None
                while (page := await store.embeddings(Family.FACE, group, after=after, limit=4096)).after is not None:
                    after = page.after

        base, target = groups.values()
        blocks = _blocks(base, _BASE_ROWS), _blocks(target, _TARGET_ROWS)

        async def compute() -> None:
            await in_thread(threads, partial(_closest, *blocks))

        async def bare() -> None:
            await in_thread(threads, partial(_faiss if HAS_FAISS else _product, *groups.values()))

        before = peak_memory()
        faces, hits = await compare()
        print(f"{faces} faces with {hits} hits; peak memory {before:.0f} MB before, {peak_memory():.0f} MB after")
        # In turns, so that all have the same machine; the best of some rounds each.
        works = (bare, compute, read, compare)
        rounds = [[await _once(work) for work in works] for _ in range(_ROUNDS)]
        known, computing, reading, whole = (min(times) for times in zip(*rounds, strict=True))
        name = "FAISS" if HAS_FAISS else "bare product with the nearest of each row (no FAISS is installed)"
        print(
            f"in memory: {name} {known:.2f} s; own computing {computing:.2f} s, {computing / known:.2f} times as long"
        )
        print(f"reading both groups {reading:.2f} s; comparing as a whole {whole:.2f} s, {whole / known:.2f} times")


async def seconds(work: Callable[[], Awaitable[object]]) -> float:
    """How long work takes: the best of some rounds."""
    return min([await _once(work) for _ in range(_ROUNDS)])


async def _once(work: Callable[[], Awaitable[object]]) -> float:
    started = time.perf_counter()
    await work()
    return time.perf_counter() - started


def _blocks(vectors: NDArray[np.float32], rows: int) -> list[Block]:
    """A group as the comparison holds it."""
    starts = range(0, len(vectors), rows)
    parts = [vectors[start : start + rows] for start in starts]
    names = [[f"{start + row:08d}" for row in range(len(part))] for start, part in zip(starts, parts, strict=True)]
    return [Block.of(ids, part, Metric.L2) for ids, part in zip(names, parts, strict=True)]


def _closest(base: list[Block], target: list[Block]) -> int:
    """The comparison's own computing: every pair inside the bound, the nearest of each row."""
    found = 0
    for rows in target:
        closest = Closest(rows, Metric.L2, bound=_BOUND, limit=_LIMIT)
        for others in base:
            closest.pass_by(others, skip_same_ids=False)
        found += len(closest.pairs())
    return found


def _faiss(base: NDArray[np.float32], target: NDArray[np.float32]) -> int:
    """The same by FAISS, without a bound."""
    import faiss  # noqa: PLC0415 - may not be installed

    index = faiss.IndexFlatL2(base.shape[1])
    index.add(base)
    squares, _ = index.search(target, _LIMIT)
    return int(np.count_nonzero(squares <= _BOUND**2))


def _product(base: NDArray[np.float32], target: NDArray[np.float32]) -> int:
    """What no exact comparison can do without: all squared distances, and the nearest of each row."""
    found = 0
    squares = np.einsum("nd,nd->n", base, base)
    for start in range(0, len(target), 1024):
        part = target[start : start + 1024]
        distances = part @ base.T
        distances *= -2
        distances += squares
        distances += np.einsum("nd,nd->n", part, part)[:, np.newaxis]
        nearest = np.partition(distances, _LIMIT - 1, axis=1)[:, :_LIMIT]
        found += int(np.count_nonzero(nearest <= _BOUND**2))
    return found


def _vectors(rows: int, dimension: int) -> dict[str, NDArray[np.float32]]:
    """Two groups with some photos of each person in each; about a third of the persons are in both."""
    random = np.random.default_rng(1)
    persons = random.standard_normal((rows // _PHOTOS_PER_PERSON * 5 // 3 + 1, dimension)) / np.sqrt(dimension)
    groups = {}
    for name, first in (("base", 0), ("target", len(persons) * 2 // 5)):
        who = first + random.integers(0, rows // _PHOTOS_PER_PERSON, rows)
        noise = 0.25 * random.standard_normal((rows, dimension)) / np.sqrt(dimension)
        groups[name] = (persons[who % len(persons)] + noise).astype(np.float32)
    return groups


async def fill(
    store: GroupStore, group: str, vectors: NDArray[np.float32], *, name: Callable[[int], str], tags: int = 7
) -> None:
    """Stores embeddings under the ids that ``name`` makes of their numbers, with so many tags in turn."""

    def record(number: int) -> Record:
        return Record(Row(name(number), f"t{number % tags}", f'{{"n":{number}}}', _BOX), vectors[number])

    for start in range(0, len(vectors), _ROWS_AT_ONCE):
        part = vectors[start : start + _ROWS_AT_ONCE]
        new = [record(start + number) for number in range(len(part))]
        await store.search_then_add(Family.FACE, group, part[:1], lambda _, new=new: new, limit=1, bound=0.0)  # type: ignore[misc]


def peak_memory() -> float:
    """Megabytes that this process has held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
