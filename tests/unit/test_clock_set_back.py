"""A clock on the wall that is behind what was written: nothing is answered wrongly, and nothing is cleaned away."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import cast

import pytest
from pymilvus import AsyncMilvusClient

from app.embedded.milvus import EmbeddedMilvus, database
from app.errors import BackendUnavailable, OperatorError
from app.metrics import StoreMetrics
from app.store.measured import MeasuredClient
from app.store.wall_clock import WallClock


async def test_milvus_lite_is_not_started_while_the_clock_is_behind_its_last_write(tmp_path: Path) -> None:
    file = database(tmp_path)
    file.touch()
    later = time.time() + 86_400
    os.utime(file, (later, later))
    with pytest.raises(OperatorError, match=r"86(399|400) seconds behind the last write .* set the clock right"):
        async with EmbeddedMilvus(data_dir=tmp_path, log_dir=tmp_path / "logs"):
            pass
    assert file.stat().st_size == 0


async def test_a_clock_that_is_a_moment_behind_is_waited_for(tmp_path: Path) -> None:
    async with EmbeddedMilvus(data_dir=tmp_path, log_dir=tmp_path / "logs"):
        pass
    later = time.time() + 0.5
    os.utime(database(tmp_path), (later, later))
    async with EmbeddedMilvus(data_dir=tmp_path, log_dir=tmp_path / "logs"):
        assert time.time() >= later


def test_rows_are_not_asked_for_until_the_clock_has_come_as_far_again() -> None:
    moment = 1000.0
    clock = WallClock(lambda: moment)
    clock.check()
    clock.wrote()
    moment = 940.5
    with pytest.raises(BackendUnavailable, match="in 60 seconds"):
        clock.check()
    clock.wrote()  # a write that was under way: what came before is not forgotten
    moment = 999.0
    with pytest.raises(BackendUnavailable):
        clock.check()
    moment = 1000.0
    clock.check()


async def test_an_answer_during_which_the_clock_was_set_back_is_none() -> None:
    moment = 1000.0

    class Client:
        async def query(self, *, jump: float) -> list[str]:
            nonlocal moment
            moment += jump
            return []

    client = MeasuredClient(cast("AsyncMilvusClient", Client()), StoreMetrics.unseen())
    client.clock = WallClock(lambda: moment)
    client.clock.wrote()
    assert await client.query(jump=1) == []
    with pytest.raises(BackendUnavailable):
        await client.query(jump=-60)
