"""Exports a made group to a file and restores it, on Milvus Lite, and prints seconds, megabytes and peak memory.

python -m loadtest.export_group --rows 100000 --dimension 128
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from io import BufferedIOBase
from pathlib import Path

import numpy as np

from app.api.group_file import GroupFileReader, facts_of, group_file
from app.embedded.milvus import EmbeddedMilvus
from app.inference.models import EmbedderSpec
from app.services.rows import embedding_space
from app.services.transfer import GroupTransfer
from app.store.groups import GroupStore
from app.store.records import Family
from loadtest.compare_groups import CALIBRATION, fill, peak_memory

_FAMILY = Family.FACE


def main() -> None:
    """Reads the arguments, exports and restores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="rows of the group")
    parser.add_argument("--dimension", type=int, default=128, help="numbers of each embedding")
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.rows, arguments.dimension))


async def _run(rows: int, dimension: int) -> None:
    spec = EmbedderSpec("made", 1, 1, 150, dimension, "L2", CALIBRATION, ())

    async def spec_of_faces() -> EmbedderSpec:
        return spec

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with (
            EmbeddedMilvus(data_dir=folder / "data", log_dir=folder / "logs") as milvus,
            GroupStore(uri=milvus.uri, prefix="made", embedded=True, timeout_s=60) as store,
        ):
            await store.create(_FAMILY, "made", capacity=rows, space=embedding_space(spec))
            random = np.random.default_rng(1)
            for start in range(0, rows, 10_000):  # in parts, so that the peak is not that of making them
                vectors = random.standard_normal((min(10_000, rows - start), dimension)).astype(np.float32)
                await fill(store, "made", vectors, name=lambda number, first=start: f"p{first + number:07d}.jpg")  # type: ignore[misc]
            transfer = GroupTransfer(store, {_FAMILY: spec_of_faces}, most=2)
            file = folder / "made.jsonl"
            before = peak_memory()
            with file.open("wb") as out:
                seconds = await _export(transfer, out)
            size = file.stat().st_size / 1e6
            print(f"export: {rows} rows in {seconds:.1f} s, {rows / seconds:.0f} rows/s, {size:.0f} MB")
            print(f"peak memory {before:.0f} MB before, {peak_memory():.0f} MB after")
            with file.open("rb") as source:
                seconds = await _restore(transfer, source, rows)
            print(f"restore: {rows} rows in {seconds:.1f} s, {rows / seconds:.0f} rows/s")
            print(f"peak memory {peak_memory():.0f} MB after")


async def _export(transfer: GroupTransfer, out: BufferedIOBase) -> float:
    started = time.perf_counter()
    async with transfer.export(_FAMILY, "made") as export:
        async for piece in group_file(export):
            out.write(piece)
    return time.perf_counter() - started


async def _restore(transfer: GroupTransfer, source: BufferedIOBase, rows: int) -> float:
    async def chunks() -> AsyncIterator[bytes]:
        while chunk := source.read(1 << 16):
            yield chunk

    started = time.perf_counter()
    reader = GroupFileReader(chunks())
    facts = facts_of(await reader.header(), name="again")
    restored = await transfer.restore(facts, reader.records())
    assert restored == rows
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
