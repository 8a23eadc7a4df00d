"""`likeness doctor` on a real data folder, as an operator runs it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from app.embedded.milvus import EmbeddedMilvus
from app.store.engine import Engine
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Metric
from app.store.registry import Registry
from tests.rows import record
from tests.running_service import ROOT, free_port


def doctor(data_dir: Path, *arguments: str, **settings: str) -> tuple[int, list[str]]:
    """Its exit status and the lines it prints."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LIKENESS_")}
    told = {f"LIKENESS_{name.upper()}": value for name, value in settings.items()}
    ran = subprocess.run(
        [sys.executable, "-m", "app", "doctor", *arguments],
        cwd=ROOT, env=kept | told | {"LIKENESS_DATA_DIR": str(data_dir)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "Traceback" not in ran.stderr
    return ran.returncode, (ran.stdout if ran.stdout else ran.stderr).splitlines()


def embedded(data_dir: Path) -> EmbeddedMilvus:
    return EmbeddedMilvus(data_dir=data_dir, log_dir=data_dir / "logs")


async def fill_and_damage(data_dir: Path) -> None:
    space = EmbeddingSpace("m", 4, Metric.L2)
    async with embedded(data_dir) as milvus:
        async with GroupStore(uri=milvus.uri, prefix="likeness", embedded=True, timeout_s=30) as store:
            for name in ("sound", "twice", "lost"):
                await store.create(Family.IMAGE, name, capacity=10, space=space)
                await store.add(Family.IMAGE, name, record("a"))
        engine = await Engine.connect(uri=milvus.uri, token="", database="", timeout_s=30)
        collections = {each.name: each.collection for each in await Registry(engine, "likeness_registry").read()}
        await engine.drop(collections["lost"])
        row = {"id": "a", "tag": "t", "desc": "{", "embedding": np.ones(4, np.float32)}
        await engine.insert(collections["twice"], [row])
        await engine.close()


def test_a_damaged_folder_is_told_of_then_mended_then_sound(tmp_path: Path) -> None:
    data_dir = tmp_path / "data"
    asyncio.run(fill_and_damage(data_dir))
    status, told = doctor(data_dir)
    assert status == 1
    lost, *of_models, summary = told
    assert lost.startswith("image/lost: its collection likeness_image_lost_g")
    assert "its rows are lost. A repair would take the group out of the registry" in lost
    assert [line for line in of_models if line.startswith("image/twice: 'a' stored more than once: 2 rows of 1 ids")]
    assert len([line for line in of_models if line.startswith("Good to know: image/")]) == 2
    assert summary == (
        "Looked through 3 groups with 2 rows: 2 findings. Nothing was changed: `likeness doctor --repair` mends it."
    )
    status, told = doctor(data_dir, "--repair")
    assert status == 0
    assert "The doctor has taken the group out of the registry" in told[0]
    assert told[-1].endswith("2 findings, 2 mended. A second look: nothing is wrong any longer.")
    status, told = doctor(data_dir)
    assert (status, told[-1]) == (0, "Looked through 2 groups with 2 rows: nothing is wrong.")


def test_a_folder_that_is_in_use_or_empty_is_refused_with_a_sentence(tmp_path: Path) -> None:
    status, [line] = doctor(tmp_path / "data")
    assert status == 1
    assert f"There is no database in the data folder {tmp_path / 'data'}" in line
    assert not (tmp_path / "data").exists()

    async def meet() -> tuple[int, list[str]]:
        async with embedded(tmp_path / "data"):
            return await asyncio.to_thread(doctor, tmp_path / "data", "--repair")

    status, [line] = asyncio.run(meet())
    assert status == 1
    assert "is in use by another Likeness: stop that one" in line


def test_a_server_that_does_not_answer_is_told_with_its_address(tmp_path: Path) -> None:
    uri = f"http://127.0.0.1:{free_port()}"
    status, lines = doctor(tmp_path / "data", milvus_uri=uri)
    assert status == 1
    assert lines[-1].startswith(f"likeness: The store at {uri} could not be examined to the end. Milvus")
