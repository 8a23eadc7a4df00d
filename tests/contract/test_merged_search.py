"""Searches at the same moment, which go to the engine together, give what each gives alone; also while rows change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from app.store.engine import Engine
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Hit, Metric, Record, Row

pytestmark = pytest.mark.asyncio(loop_scope="session")

DIMENSION = 16
ROWS = 256
MOST_OF_ONE = 3  # queries of one search
FAR = 100.0  # where writers write: beyond every bound of the searches beside them


@dataclass(frozen=True)
class Question:
    """One search."""

    vectors: NDArray[np.float32]
    limit: int
    bound: float
    tags: tuple[str, ...]

    async def ask(self, store: GroupStore, group: str) -> list[list[Hit]]:
        return await store.search(Family.IMAGE, group, self.vectors, limit=self.limit, bound=self.bound, tags=self.tags)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def group(store: GroupStore) -> AsyncIterator[str]:
    """Rows among which many tie, in four tags."""
    name = "merged"
    await store.create(Family.IMAGE, name, capacity=ROWS, space=EmbeddingSpace("m", DIMENSION, Metric.L2))
    await store.add_many(
        Family.IMAGE,
        name,
        [
            Record(Row(f"id{(number * 7919) % ROWS:03d}", f"t{number % 4}", "{}", None), vector)
            for number, vector in enumerate(vectors())
        ],
    )
    yield name
    await store.remove(Family.IMAGE, name)


def vectors() -> NDArray[np.float32]:
    made = np.random.default_rng(3).standard_normal((ROWS, DIMENSION)).astype(np.float32)
    made[100:140] = made[99]
    return made


def questions(seed: int, number: int) -> list[Question]:
    random = np.random.default_rng(seed)
    rows = vectors()
    made = []
    for _ in range(number):
        queries = rows[random.integers(90, ROWS, random.integers(1, MOST_OF_ONE + 1))].copy()
        queries[random.random(len(queries)) < 0.5] += 0.1
        limit = int(random.choice([1, 5, 60]))
        bound = float(random.choice([0.5, 4.0, 6.0, 20.0]))
        made.append(Question(queries, limit, bound, ("t1", "t2") if random.random() < 0.3 else ()))
    return made


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of queries of each search that the engine was asked."""
    asked: list[int] = []
    search: Callable[..., Awaitable[object]] = Engine.search

    async def counted(engine: Engine, collection: str, vectors: NDArray[np.float32], **terms: object) -> object:
        asked.append(len(vectors))
        return await search(engine, collection, vectors, **terms)

    monkeypatch.setattr(Engine, "search", counted)
    return asked


@pytest.mark.parametrize("seed", [1, 2])
async def test_searches_at_once_give_what_each_gives_alone(
    store: GroupStore, group: str, calls: list[int], seed: int
) -> None:
    asked = questions(seed, 48)
    alone = [await each.ask(store, group) for each in asked]
    number = len(calls)
    assert await asyncio.gather(*(each.ask(store, group) for each in asked)) == alone
    assert max(calls[number:]) > MOST_OF_ONE


async def test_searches_beside_writers_see_every_answered_write_and_are_not_moved_by_others(
    store: GroupStore, group: str, calls: list[int]
) -> None:
    asked = [each for each in questions(3, 40) if each.bound < 20]
    alone = [await each.ask(store, group) for each in asked]
    number = len(calls)
    writing = True

    async def write(writer: int) -> None:
        vector = np.full((1, DIMENSION), FAR, np.float32)
        vector[0, writer] = -FAR
        find = Question(vector, 5, 1.0, ())
        for turn in range(2):
            row = Row(f"w{writer}", "written", f'{{"turn":{turn}}}', None)
            await store.add(Family.IMAGE, group, Record(row, vector[0]))
            assert [hit.row for hit in (await find.ask(store, group))[0]] == [row]
            await store.delete(Family.IMAGE, group, [row.id])
            assert await find.ask(store, group) == [[]]

    async def read(reader: int) -> None:
        which = reader
        while writing:
            assert await asked[which].ask(store, group) == alone[which]
            which = (which + 1) % len(asked)

    readers = [asyncio.create_task(read(number)) for number in range(16)]
    try:
        await asyncio.gather(*(write(writer) for writer in range(4)))
    finally:
        writing = False
        await asyncio.gather(*readers)
    assert max(calls[number:]) > MOST_OF_ONE
