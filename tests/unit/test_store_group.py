"""Counters of a group: scanned once, kept by writes, and scanned again after a write that failed."""

from typing import Any, cast

import pytest

from app.errors import BackendUnavailable
from app.store.engine import Engine
from app.store.group import Group
from app.store.profile import profile_for
from app.store.records import EmbeddingSpace, Family, Metric, TagCount
from app.store.registry import Registration


class CountingEngine:
    """An engine that holds tags by id and counts how often it is asked for them."""

    def __init__(self, tags: dict[str, str]) -> None:
        self.profile = profile_for(None)
        self.tags = tags
        self.scans = 0

    async def query(self, _: str, expression: str, *__: object, **___: object) -> list[dict[str, Any]]:
        after = expression.split('"')[1]
        self.scans += not after
        return [{"id": name, "tag": tag} for name, tag in sorted(self.tags.items()) if name > after]


def _group(engine: CountingEngine) -> Group:
    space = EmbeddingSpace("m", 4, Metric.L2)
    return Group(cast(Engine, engine), Registration.now(Family.IMAGE, "abc", capacity=1, space=space, collection="c"))


async def _counts(group: Group) -> list[TagCount]:
    return list((await group.counts()).page(after=None, limit=100).items)


async def test_rows_are_scanned_once_and_writes_are_booked() -> None:
    engine = CountingEngine({"1": "a", "2": "b"})
    group = _group(engine)
    assert await _counts(group) == [TagCount("a", 1), TagCount("b", 1)]
    with group.counting(added=["b", "c"], removed=["a"]):
        pass
    assert await _counts(group) == [TagCount("b", 2), TagCount("c", 1)]
    assert engine.scans == 1


async def test_after_a_write_that_failed_the_rows_are_counted_anew() -> None:
    engine = CountingEngine({"1": "a"})
    group = _group(engine)
    await group.counts()

    def write_whose_answer_is_lost() -> None:
        with group.counting(added=["b"]):
            engine.tags["2"] = "b"
            raise BackendUnavailable("lost")

    with pytest.raises(BackendUnavailable):
        write_whose_answer_is_lost()
    assert await _counts(group) == [TagCount("a", 1), TagCount("b", 1)]
    assert engine.scans == 2


async def test_writes_before_the_first_scan_are_not_counted_twice() -> None:
    engine = CountingEngine({})
    group = _group(engine)
    with group.counting(added=["a"]):
        engine.tags["1"] = "a"
    assert await _counts(group) == [TagCount("a", 1)]
