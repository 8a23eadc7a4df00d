"""Any sequence of calls leaves the store as a plain dictionary would be: Hypothesis looks for one that does not."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from numpy.typing import NDArray

from app.errors import GroupExists, GroupNotFound, IdExists, ImageNotFound, LikenessError
from app.store import keys
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, GroupInfo, Hit, Metric, Record, Row, TagCount

T = TypeVar("T")
OpenStore = Callable[..., GroupStore]
Vector = tuple[int, ...]
Kept = tuple[Row, Vector]

pytestmark = pytest.mark.asyncio(loop_scope="session")

SPACE = EmbeddingSpace("m", 4, Metric.L2)
GROUPS = ("first", "second")
# A making takes seconds on a server, so it gets fewer sequences.
EXAMPLES = {"lite": 10, "server": 4, "external": 4}

names = st.sampled_from(GROUPS)
common = ["a", "A", "it's", 'say "a"', "back\\", "line\nline", "日本"]  # few, so that calls meet
ids = st.sampled_from(common) | st.sampled_from(common) | st.text("ab'\"\\\n _%é", min_size=1, max_size=2)
tags = st.sampled_from(["t", "u", "it's", "日\n", '"'])
descs = st.sampled_from(["{}", "null", "[1,2]", '"x"', '{"b":1,"a":2}', "1e400", '"it\'s"'])
vectors = st.tuples(*[st.integers(0, 3)] * 4).filter(any)
queries = st.lists(vectors, min_size=1, max_size=3)
bounds = st.sampled_from([0.0, 1.0, 1.5, 2.0, 100.0])
limits = st.integers(1, 4)
some_tags = st.lists(tags, max_size=2, unique=True)


class Against(RuleBasedStateMachine):
    """Does each call to the store and to the dictionary; subclasses bring the store and its event loop."""

    store: GroupStore
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.groups: dict[str, dict[str, Kept]] = {}

    def run(self, call: Awaitable[T]) -> T:
        async def awaited() -> T:
            return await call

        return asyncio.run_coroutine_threadsafe(awaited(), self.loop).result(60)

    def outcome(self, call: Awaitable[Any]) -> Any:
        """The answer, or the kind of the error."""
        try:
            return self.run(call)
        except LikenessError as error:
            return type(error)

    def ordered(self, name: str, tag: str | None = None) -> list[Row]:
        rows = [row for row, _ in self.groups[name].values() if tag in (None, row.tag)]
        return sorted(rows, key=lambda row: keys.stored(row.id).encode())

    def counted(self, name: str) -> list[TagCount]:
        counts = Counter(row.tag for row, _ in self.groups[name].values())
        return [TagCount(tag, counts[tag]) for tag in sorted(counts)]

    def nearest(self, name: str, query: Vector, limit: int, bound: float, among: Sequence[str]) -> list[Hit]:
        hits = [
            Hit(row, sum((one - other) ** 2 for one, other in zip(query, at, strict=True)) ** 0.5)
            for row, at in self.groups[name].values()
            if not among or row.tag in among
        ]
        return sorted((h for h in hits if h.measure <= bound), key=lambda h: (h.measure, h.row.id))[:limit]

    @initialize()
    def both_are_there_and_empty(self) -> None:
        async def reset() -> None:
            there = await self.store.names(Family.IMAGE)
            for name in GROUPS:
                if name not in there:
                    await self.store.create(Family.IMAGE, name, capacity=9, space=SPACE)
                while rows := (await self.store.rows(Family.IMAGE, name, tag=None, after=None, limit=1000)).items:
                    await self.store.delete(Family.IMAGE, name, [row.id for row in rows])

        self.run(reset())
        self.groups = {name: {} for name in GROUPS}

    @rule(name=names)
    def create(self, name: str) -> None:
        there = name in self.groups
        made = self.outcome(self.store.create(Family.IMAGE, name, capacity=9, space=SPACE))
        assert made is (GroupExists if there else None)
        self.groups.setdefault(name, {})

    @rule()
    def remove(self) -> None:
        removed = self.outcome(self.store.remove(Family.IMAGE, "second"))
        assert removed is (None if self.groups.pop("second", None) is not None else GroupNotFound)

    @rule(name=names, id=ids, tag=tags, desc=descs, at=vectors)
    def add(self, name: str, id: str, tag: str, desc: str, at: Vector) -> None:
        row = Row(id, tag, desc, None)
        answer = self.outcome(self.store.add(Family.IMAGE, name, Record(row, array(at))))
        if name not in self.groups:
            assert answer is GroupNotFound
        elif id in self.groups[name]:
            assert answer is IdExists
        else:
            assert answer is None
            self.groups[name][id] = (row, at)

    @rule(name=names, added=st.lists(st.tuples(st.sampled_from(common), tags, vectors), min_size=2, max_size=6))
    def add_several(self, name: str, added: list[tuple[str, str, Vector]]) -> None:
        for name_of_row, tag, at in added:
            self.add(name, name_of_row, tag, "{}", at)

    @rule(name=names, id=ids, tag=tags, desc=descs, at=vectors)
    def update(self, name: str, id: str, tag: str, desc: str, at: Vector) -> None:
        row = Row(id, tag, desc, None)
        answer = self.outcome(self.store.update(Family.IMAGE, name, Record(row, array(at))))
        if name not in self.groups:
            assert answer is GroupNotFound
        elif id not in self.groups[name]:
            assert answer is ImageNotFound
        else:
            assert answer is None
            self.groups[name][id] = (row, at)

    @rule(name=names, victims=st.lists(ids, max_size=4))
    def delete(self, name: str, victims: list[str]) -> None:
        answer = self.outcome(self.store.delete(Family.IMAGE, name, victims))
        if name not in self.groups:
            assert answer is GroupNotFound
        else:
            assert answer == [each for each in dict.fromkeys(victims) if each in self.groups[name]]
            for each in answer:
                del self.groups[name][each]

    @rule(name=names, id=ids)
    def one_row(self, name: str, id: str) -> None:
        contained = self.outcome(self.store.contains(Family.IMAGE, name, id))
        found = self.outcome(self.store.row(Family.IMAGE, name, id))
        if name not in self.groups:
            assert contained is found is GroupNotFound
        else:
            assert contained is (id in self.groups[name])
            assert found == (self.groups[name][id][0] if contained else ImageNotFound)

    @rule(name=names, tag=st.none() | tags, limit=limits)
    def listing(self, name: str, tag: str | None, limit: int) -> None:
        if name not in self.groups:
            answer = self.outcome(self.store.rows(Family.IMAGE, name, tag=tag, after=None, limit=limit))
            assert answer is GroupNotFound
            return
        listed: list[Row] = []
        after: str | None = None
        while after is not None or not listed:
            page = self.run(self.store.rows(Family.IMAGE, name, tag=tag, after=after, limit=limit))
            listed += page.items
            after = page.after
            if after is None:
                break
            assert (len(page.items), after) == (limit, page.items[-1].id)
        assert listed == self.ordered(name, tag)

    @rule(name=names, limit=limits)
    def listing_of_tags(self, name: str, limit: int) -> None:
        if name not in self.groups:
            assert self.outcome(self.store.tags(Family.IMAGE, name, after=None, limit=limit)) is GroupNotFound
            return
        listed: list[TagCount] = []
        after: str | None = None
        while True:
            page = self.run(self.store.tags(Family.IMAGE, name, after=after, limit=limit))
            listed += page.items
            after = page.after
            if after is None:
                break
        assert listed == self.counted(name)

    @rule(name=names, wanted=st.lists(ids, max_size=5))
    def rows_of(self, name: str, wanted: list[str]) -> None:
        answer = self.outcome(self.store.rows_of(Family.IMAGE, name, wanted))
        if name not in self.groups:
            assert answer is GroupNotFound
        else:
            assert answer == {each: self.groups[name][each][0] for each in wanted if each in self.groups[name]}

    @rule(name=names)
    def embeddings(self, name: str) -> None:
        answer = self.outcome(self.store.embeddings(Family.IMAGE, name, after=None, limit=1000))
        if name not in self.groups:
            assert answer is GroupNotFound
        else:
            assert answer.ids == [row.id for row in self.ordered(name)]
            assert [tuple(map(int, each)) for each in answer.vectors] == [
                self.groups[name][each][1] for each in answer.ids
            ]

    @rule(name=names, queries=queries, limit=limits, bound=bounds, among=some_tags)
    def search(self, name: str, queries: list[Vector], limit: int, bound: float, among: list[str]) -> None:
        search = self.store.search(Family.IMAGE, name, array(queries), limit=limit, bound=bound, tags=among)
        answer = self.outcome(search)
        if name not in self.groups:
            assert answer is GroupNotFound
        else:
            assert answer == [self.nearest(name, query, limit, bound, among) for query in queries]

    @rule(name=names, queries=queries, bound=bounds, among=some_tags, tag=tags)
    def search_then_add(self, name: str, queries: list[Vector], bound: float, among: list[str], tag: str) -> None:
        new: dict[str, Kept] = {}

        def newcomers(nearest: list[list[Hit]]) -> list[Record]:
            for query, hits in zip(queries, nearest, strict=True):
                if not hits and query not in [at for _, at in new.values()]:
                    row = Row(secrets.token_hex(8), tag, "{}", None)
                    new[row.id] = (row, query)
            return [Record(row, array(at)) for row, at in new.values()]

        answer = self.outcome(
            self.store.search_then_add(Family.IMAGE, name, array(queries), newcomers, limit=3, bound=bound, tags=among)
        )
        if name not in self.groups:
            assert answer is GroupNotFound
            return
        assert answer == [self.nearest(name, query, 3, bound, among) for query in queries]
        missed = {query for query in queries if not self.nearest(name, query, 1, bound, ())}
        assert {at for _, at in new.values()} == missed
        self.groups[name] |= new

    @rule()
    def count_anew(self) -> None:
        self.store.forget()

    @invariant()
    def names_and_counts_are_exact(self) -> None:
        if not self.groups:
            return
        assert self.run(self.store.names(Family.IMAGE)) == sorted(self.groups)
        for name, rows in self.groups.items():
            expected = GroupInfo(9, tags=len(self.counted(name)), count=len(rows))
            assert self.run(self.store.info(Family.IMAGE, name)) == expected


def array(at: Vector | list[Vector]) -> NDArray[np.float32]:
    return np.array(at, np.float32)


async def test_any_sequence_of_calls_leaves_what_a_dictionary_would_hold(
    open_store: OpenStore, request: pytest.FixtureRequest
) -> None:
    async with open_store() as store:
        members = {"store": store, "loop": asyncio.get_running_loop()}
        machine = type("OnThisEngine", (Against,), members)
        engine = request.node.callspec.params["engine"]
        chosen = settings(
            max_examples=EXAMPLES[engine],
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            phases=[Phase.generate],  # each step of shrinking would take as long as a sequence
            suppress_health_check=list(HealthCheck),
        )
        # Hypothesis calls in a thread of its own, and all the store's work stays in this loop.
        await asyncio.to_thread(run_state_machine_as_test, machine, settings=chosen)
