"""Calibrates a made group on Milvus Lite and prints how long it takes beside the bare NumPy product.

python -m loadtest.calibrate_group --rows 10000 --dimension 128
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.embedded.milvus import EmbeddedMilvus
from app.inference.models import EmbedderSpec
from app.services.budget import MemoryBudget
from app.services.calibrate import Calibrate, CalibrationReport, CalibrationWish
from app.services.identities import ByPattern
from app.services.rows import embedding_space
from app.store.groups import GroupStore
from app.store.records import Family
from loadtest.compare_groups import CALIBRATION, fill, peak_memory, seconds

_PHOTOS_PER_PERSON = 4
_GROUP = "made"


def main() -> None:
    """Reads the arguments and runs the calibration."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the group; of over 10,000 a sample is taken")
    parser.add_argument("--dimension", type=int, default=128, help="numbers of each embedding")
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.rows, arguments.dimension))


async def _run(rows: int, dimension: int) -> None:
    spec = EmbedderSpec("made", 1, 1, 150, dimension, "L2", CALIBRATION, ())
    vectors = _vectors(rows, dimension)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            EmbeddedMilvus(data_dir=folder / "data", log_dir=folder / "logs") as milvus,
            GroupStore(uri=milvus.uri, prefix="made", embedded=True, timeout_s=60) as store,
        ):
            await store.create(Family.FACE, _GROUP, capacity=rows, space=embedding_space(spec))
            await fill(store, _GROUP, vectors, name=lambda number: f"p{number // _PHOTOS_PER_PERSON}-{number}.jpg")
            await _measure(store, spec, vectors)


async def _measure(store: GroupStore, spec: EmbedderSpec, vectors: NDArray[np.float32]) -> None:
    async def spec_of_faces() -> EmbedderSpec:
        return spec

    wish = CalibrationWish(ByPattern.of("{identity}-*"), (0.01, 0.001), 0.45)
    with ThreadPoolExecutor(1) as threads:
        calibration = Calibrate(store, {Family.FACE: spec_of_faces}, threads, MemoryBudget(256 << 20))

        async def calibrate() -> CalibrationReport:
            return await calibration.calibrate(Family.FACE, _GROUP, wish)

        async def read() -> None:
            after: str | None = None
            while (page := await store.embeddings(Family.FACE, _GROUP, after=after, limit=1024)).after is not None:
                after = page.after

        async def product() -> None:
            await asyncio.to_thread(_product, vectors[:10_000])

        before = peak_memory()
        report = await calibrate()
        pairs = report.rates.same.pairs + report.rates.different.pairs
        print(f"{report.rows} of {report.count} rows, {report.identities} identities, {pairs} pairs")
        print(f"peak memory {before:.0f} MB before, {peak_memory():.0f} MB after")
        bare = await seconds(product)
        reading = await seconds(read)
        whole = await seconds(calibrate)
        print(f"bare NumPy product {bare:.2f} s; reading the group {reading:.2f} s; calibrating {whole:.2f} s")
        ratio, own = whole / bare, (whole - reading) / bare
        print(f"ratio of calibrating to the bare product: {ratio:.1f}, without reading {own:.1f}")


def _product(vectors: NDArray[np.float32]) -> int:
    """What no exact calibration can do without: the squared distance of each pair, once."""
    found = 0
    squares = np.einsum("nd,nd->n", vectors, vectors)
    for start in range(0, len(vectors), 1024):
        part = vectors[start : start + 1024]
        distances = part @ vectors[start:].T
        distances *= -2
        distances += squares[start:]
        distances += squares[start : start + 1024, np.newaxis]
        found += int(np.count_nonzero(distances < 0.3))
    return found


def _vectors(rows: int, dimension: int) -> NDArray[np.float32]:
    """Some photos of each person, about 0.35 from each other, and strangers about 1.4."""
    random = np.random.default_rng(1)
    persons = random.standard_normal((rows // _PHOTOS_PER_PERSON + 1, dimension)) / np.sqrt(dimension)
    noise = 0.25 * random.standard_normal((rows, dimension)) / np.sqrt(dimension)
    return (persons[np.arange(rows) // _PHOTOS_PER_PERSON] + noise).astype(np.float32)


if __name__ == "__main__":
    main()
