"""Merging of concurrent searches: who shares a call, and that nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from app.errors import BackendUnavailable, InternalError
from app.store.merged_searches import Measured, MergedSearches, SearchTerms
from app.store.profile import EngineProfile, profile_for
from app.store.records import Metric

TERMS = SearchTerms(size=11, whole=True, expression="")
PROFILE = replace(profile_for("v2.3.5"), queries_per_call=4, searches_at_once=1)


class Engine:
    """Answers each query with its own first number, when told to; keeps what it was asked."""

    def __init__(self) -> None:
        self.calls: list[tuple[SearchTerms, list[float], float]] = []
        self.cancelled = 0
        self._gates: list[asyncio.Event] = []
        self.refuses: Callable[[list[float]], Exception | None] = lambda _: None

    async def ask(self, terms: SearchTerms, vectors: NDArray[np.float32], bound: float) -> list[Measured]:
        queries = [float(value) for value in vectors[:, 0]]
        self.calls.append((terms, queries, bound))
        gate = asyncio.Event()
        self._gates.append(gate)
        try:
            await gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if (error := self.refuses(queries)) is not None:
            raise error
        return [[(query, {})] for query in queries]

    @property
    def asked(self) -> list[list[float]]:
        return [queries for _, queries, _ in self.calls]

    async def answer(self, number: int) -> None:
        """Lets a call end, and whatever follows from that begin."""
        self._gates[number].set()
        await settled()


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Searches:
    """Starts searches, and looks at what they give."""

    def __init__(self, profile: EngineProfile = PROFILE, metric: Metric = Metric.L2) -> None:
        self.engine = Engine()
        self.merged = MergedSearches(self.engine.ask, metric, profile)

    async def start(
        self, *queries: float, terms: SearchTerms = TERMS, bound: float = 1.0
    ) -> asyncio.Task[list[Measured]]:
        vectors = np.array([[query] for query in queries], np.float32)
        task = asyncio.create_task(self.merged.search(terms, vectors, bound))
        await settled()
        return task


@pytest.fixture
def searches() -> Searches:
    return Searches()


async def test_the_first_search_goes_at_once_and_those_that_come_meanwhile_go_together(searches: Searches) -> None:
    first = await searches.start(1)
    others = [await searches.start(2), await searches.start(3, 4)]
    assert searches.engine.asked == [[1]]
    await searches.engine.answer(0)
    assert await first == [[(1.0, {})]]
    assert searches.engine.asked == [[1], [2, 3, 4]]
    await searches.engine.answer(1)
    assert await others[0] == [[(2.0, {})]]
    assert await others[1] == [[(3.0, {})], [(4.0, {})]]


async def test_no_search_is_answered_by_a_call_that_began_before_it(searches: Searches) -> None:
    await searches.start(1)
    await searches.start(2)
    await searches.engine.answer(0)
    late = await searches.start(3)
    await searches.engine.answer(1)
    assert not late.done()
    await searches.engine.answer(2)
    assert await late == [[(3.0, {})]]
    assert searches.engine.asked == [[1], [2], [3]]


async def test_searches_of_other_terms_do_not_wait_for_each_other(searches: Searches) -> None:
    terms = [TERMS, replace(TERMS, size=12), replace(TERMS, expression='tag == "a"'), replace(TERMS, whole=False)]
    tasks = [await searches.start(number, terms=each) for number, each in enumerate(terms)]
    assert [each for each, _, _ in searches.engine.calls] == terms
    for number, task in enumerate(tasks):
        await searches.engine.answer(number)
        assert await task == [[(float(number), {})]]


@pytest.mark.parametrize(("metric", "widest"), [(Metric.L2, 0.9), (Metric.COSINE, 0.2)])
async def test_a_call_reaches_as_far_as_the_widest_of_its_bounds(metric: Metric, widest: float) -> None:
    searches = Searches(metric=metric)
    await searches.start(1)
    for bound in (0.5, 0.9, 0.2):
        await searches.start(2, bound=bound)
    await searches.engine.answer(0)
    assert searches.engine.calls[1][1:] == ([2.0, 2.0, 2.0], widest)


async def test_a_call_is_no_larger_than_the_engine_likes_and_order_is_kept(searches: Searches) -> None:
    await searches.start(0)
    for queries in ([1, 2], [3], [4, 5, 6], [7], [8, 9, 10, 11, 12], [13]):
        await searches.start(*queries)
    for number in range(5):
        await searches.engine.answer(number)
    assert searches.engine.asked == [[0], [1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11, 12], [13]]


async def test_an_answer_has_no_more_whole_rows_than_the_engine_can_send() -> None:
    searches = Searches(replace(PROFILE, rows_per_answer=25, ids_per_answer=1000))
    for terms, asked in ((TERMS, [[0.0], [0.0, 0.0], [0.0]]), (replace(TERMS, whole=False), [[0.0], [0.0] * 3])):
        searches.engine.calls.clear()
        searches.engine._gates.clear()
        for _ in range(4):
            await searches.start(0, terms=terms)
        for number in range(len(asked)):
            await searches.engine.answer(number)
        assert searches.engine.asked == asked


async def test_as_many_calls_are_under_way_as_the_engine_likes() -> None:
    searches = Searches(replace(PROFILE, searches_at_once=2))
    for number in range(6):
        await searches.start(number)
    assert searches.engine.asked == [[0], [1]]
    await searches.engine.answer(1)
    assert searches.engine.asked == [[0], [1], [2, 3, 4, 5]]
    await searches.start(6)
    await searches.engine.answer(0)
    assert searches.engine.asked[3:] == [[6]]


async def test_a_cancelled_search_leaves_the_others_of_its_call_be(searches: Searches) -> None:
    await searches.start(1)
    waiting, gone, under_way = [await searches.start(number) for number in (2, 3, 4)]
    gone.cancel()
    await searches.engine.answer(0)
    assert searches.engine.asked[1] == [2, 4]
    under_way.cancel()
    await settled()
    assert searches.engine.cancelled == 0
    await searches.engine.answer(1)
    assert await waiting == [[(2.0, {})]]
    assert (gone.cancelled(), under_way.cancelled()) == (True, True)


async def test_a_call_that_nobody_waits_for_is_cancelled_and_the_next_one_begins(searches: Searches) -> None:
    first = await searches.start(1)
    following = await searches.start(2)
    first.cancel()
    await settled()
    assert (searches.engine.cancelled, searches.engine.asked) == (1, [[1], [2]])
    last = await searches.start(3)
    following.cancel()
    await settled()
    assert (searches.engine.cancelled, searches.engine.asked) == (2, [[1], [2], [3]])
    await searches.engine.answer(2)
    assert await last == [[(3.0, {})]]


async def test_when_milvus_does_not_answer_each_of_a_call_is_told_by_an_error_of_its_own(searches: Searches) -> None:
    await searches.start(1)
    told = [await searches.start(2), await searches.start(3)]
    searches.engine.refuses = lambda _: BackendUnavailable("Milvus is away.")
    await searches.engine.answer(0)
    await searches.engine.answer(1)
    errors = [task.exception() for task in told]
    assert [(type(error), str(error)) for error in errors] == [(BackendUnavailable, "Milvus is away.")] * 2
    assert errors[0] is not errors[1]
    assert searches.engine.asked == [[1], [2, 3]]


async def test_a_refused_search_fails_alone(searches: Searches) -> None:
    await searches.start(1)
    tasks = [await searches.start(number) for number in (2, 3, 4)]
    searches.engine.refuses = lambda queries: InternalError("refused") if 3 in queries else None
    for number in range(5):
        await searches.engine.answer(number)
    assert searches.engine.asked == [[1], [2, 3, 4], [2], [3], [4]]
    assert await tasks[0] == [[(2.0, {})]]
    assert isinstance(tasks[1].exception(), InternalError)
    assert await tasks[2] == [[(4.0, {})]]


async def test_a_failure_of_the_first_does_not_reach_those_that_wait(searches: Searches) -> None:
    first = await searches.start(1)
    other = await searches.start(2)
    searches.engine.refuses = lambda queries: InternalError("refused") if 1 in queries else None
    await searches.engine.answer(0)
    assert isinstance(first.exception(), InternalError)
    await searches.engine.answer(1)
    assert await other == [[(2.0, {})]]


async def test_nothing_is_kept_once_all_are_answered(searches: Searches) -> None:
    for _ in range(3):
        await searches.start(1)
    for number in range(2):
        await searches.engine.answer(number)
    assert (searches.merged._lanes, searches.merged._tasks) == ({}, set())
