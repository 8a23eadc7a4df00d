"""Hammers one group with many workers at once and prints what was done; ends with an error at the first wrong answer.

python -m loadtest.hammer_group --seconds 60
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.embedded.milvus import EmbeddedMilvus
from app.errors import IdExists, ImageNotFound
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, GroupInfo, Metric, Record, Row, TagCount
from loadtest.ledger import Ledger

SPACE = EmbeddingSpace("m", 4, Metric.L2)

_FAMILY = Family.IMAGE
_IDS_PER_WORKER = 6
_TAGS = 5


def main() -> None:
    """Reads the arguments, hammers, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="how long")
    parser.add_argument("--workers", type=int, default=16, help="how many at once")
    parser.add_argument("--milvus", default="", help="address of a Milvus server; without it Milvus Lite is started")
    arguments = parser.parse_args()
    asyncio.run(_run(arguments.seconds, arguments.workers, arguments.milvus))


async def _run(seconds: float, workers: int, uri: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if uri:
            await _hammer(uri, seconds, workers)
            return
        async with EmbeddedMilvus(data_dir=folder / "data", log_dir=folder / "logs") as milvus:
            await _hammer(milvus.uri, seconds, workers)


async def _hammer(uri: str, seconds: float, workers: int) -> None:
    started = time.monotonic()
    async with GroupStore(uri=uri, prefix="hammer", embedded=False, timeout_s=60) as store:
        await store.create(_FAMILY, "hammered", capacity=1000, space=SPACE)
        hammer = Hammer(store, "hammered", workers=workers, seed=1)
        try:
            while time.monotonic() - started < seconds:
                await hammer.round(calls=60)
        finally:
            await store.remove(_FAMILY, "hammered")
    print(f"{workers} workers on one group for {time.monotonic() - started:.0f} s: no answer was wrong")
    print(f"{'call':<12} {'times':>8}")
    for call, times in sorted(hammer.done.items()):
        print(f"{call:<12} {times:>8,}")


@dataclass(slots=True)
class Hammer:
    """Workers that write rows of their own, all in one group, and read what all of them wrote.

    Each value is a number of its own, which is in the row's desc, decides its tag, and is its place in the space: so a
    mixture of two values is seen.

    Args:
        store: where the group is.
        group: a group of images in ``SPACE``, empty.
        workers: how many write and read at once.
        seed: decides what they do.
    """

    store: GroupStore
    group: str
    workers: int
    seed: int
    done: Counter[str] = field(default_factory=Counter)
    _ledger: Ledger[int] = field(default_factory=Ledger)
    _numbers: int = 0
    _rounds: int = 0

    async def round(self, *, calls: int) -> None:
        """Each worker makes so many calls; then, while nothing is under way, everything is compared.

        Raises:
            AssertionError: an answer was wrong.
        """
        self._rounds += 1
        async with asyncio.TaskGroup() as group:
            for worker in range(self.workers):
                dice = random.Random(f"{self.seed} {self._rounds} {worker}")
                group.create_task(self._work(worker, dice, calls))
        await self._compare()
        self.store.forget()
        await self._compare()

    async def _work(self, worker: int, dice: random.Random, calls: int) -> None:
        actions: list[Callable[[str], Awaitable[None]]] = [
            self._add, self._add, self._update, self._update, self._delete, self._race, self._clash,
            self._list, self._search, self._one,
        ]  # fmt: skip
        for _ in range(calls):
            action = dice.choice(actions)
            self.done[action.__name__.strip("_")] += 1
            await action(f"w{worker:02d}-{dice.randrange(_IDS_PER_WORKER)}")

    # --- writes: a worker knows what became of its own ids ---

    async def _add(self, name: str) -> None:
        (there,) = self._now(name)
        value = self._fresh()
        write = self._ledger.begin(name, value)
        try:
            await self.store.add(_FAMILY, self.group, record(name, value))
        except IdExists:
            assert there is not None, f"{name} was refused as if it were there"
            self._ledger.refused(write)
        else:
            assert there is None, f"{name} was added though it was there"
            self._ledger.answered(write)

    async def _update(self, name: str) -> None:
        (there,) = self._now(name)
        value = self._fresh()
        write = self._ledger.begin(name, value)
        try:
            await self.store.update(_FAMILY, self.group, record(name, value))
        except ImageNotFound:
            assert there is None, f"{name} could not be updated, though it is there"
            self._ledger.refused(write)
        else:
            assert there is not None, f"{name} was updated though it is not there"
            self._ledger.answered(write)

    async def _delete(self, name: str) -> None:
        (there,) = self._now(name)
        write = self._ledger.begin(name, None)
        deleted = await self.store.delete(_FAMILY, self.group, [name, name])
        assert deleted == ([name] if there is not None else []), f"the delete of {name} named {deleted}"
        self._ledger.answered(write)

    async def _race(self, name: str) -> None:
        """Three additions of one new id at once: one of them wins."""
        if self._now(name) != {None}:
            return
        writes = [self._ledger.begin(name, self._fresh()) for _ in range(3)]
        answers = await asyncio.gather(
            *(self.store.add(_FAMILY, self.group, record(name, write.value or 0)) for write in writes),
            return_exceptions=True,
        )
        assert sorted(type(answer).__name__ for answer in answers) == ["IdExists", "IdExists", "NoneType"]
        for write, answer in zip(writes, answers, strict=True):
            if answer is None:
                self._ledger.answered(write)
            else:
                self._ledger.refused(write)

    async def _clash(self, name: str) -> None:
        """An update and a delete of one id at once: it is gone in the end."""
        if None in self._now(name):
            return
        update, delete = self._ledger.begin(name, self._fresh()), self._ledger.begin(name, None)
        updated, deleted = await asyncio.gather(
            self.store.update(_FAMILY, self.group, record(name, update.value or 0)),
            self.store.delete(_FAMILY, self.group, [name]),
            return_exceptions=True,
        )
        assert updated is None or isinstance(updated, ImageNotFound)
        assert deleted == [name]
        if updated is not None:
            self._ledger.refused(update)
        self._ledger.answered(delete)

    # --- reads: of everybody's ids ---

    async def _list(self, name: str) -> None:
        """Pages through the whole group, or one tag of it."""
        tag = None if name.endswith(("0", "1", "2")) else f"tag{int(name[-1]) % _TAGS}"
        after: str | None = None
        while True:
            since = self._ledger.now()
            page = await self.store.rows(_FAMILY, self.group, tag=tag, after=after, limit=17)
            names = [row.id for row in page.items]
            assert names == sorted(set(names)), "a page repeats an id or is out of order"
            assert after is None or not names or names[0] > after, "a page repeats the one before"
            assert all(tag in (None, row.tag) for row in page.items)
            self._judge({row.id: value_of(row) for row in page.items}, since, (after or "", page.after), tag)
            after = page.after
            if after is None:
                return

    async def _search(self, name: str) -> None:
        since = self._ledger.now()
        query = record(name, self._fresh()).embedding
        (hits,) = await self.store.search(_FAMILY, self.group, query[np.newaxis], limit=1000, bound=1e6)
        seen = {hit.row.id: value_of(hit.row) for hit in hits}
        assert len(seen) == len(hits), "a search finds an id twice"
        for hit in hits:
            distance = float(np.linalg.norm(record("", value_of(hit.row)).embedding - query))
            assert abs(hit.measure - distance) < 1e-2, f"{hit.row.id} has the embedding of another value"
        self._judge(seen, since, ("", None), None)

    async def _one(self, name: str) -> None:
        since = self._ledger.now()
        found = await self.store.rows_of(_FAMILY, self.group, [name])
        value = value_of(found[name]) if name in found else None
        assert value in self._ledger.allowed(name, since)

    def _judge(self, seen: dict[str, int], since: int, span: tuple[str, str | None], tag: str | None) -> None:
        after, last = span
        for name in {*self._ledger.booked(), *seen}:
            if not after < name or (last is not None and name > last):
                continue
            allowed = self._ledger.allowed(name, since)
            if tag is not None:
                allowed = {value if value is not None and tag_of(value) == tag else None for value in allowed}
            assert seen.get(name) in allowed, f"{name} is seen as {seen.get(name)}: it can only be one of {allowed}"

    async def _compare(self) -> None:
        truth = {name: value for name in self._ledger.booked() if (value := self._settled(name)) is not None}
        counts = Counter(tag_of(value) for value in truth.values())
        rows: list[Row] = []
        after: str | None = None
        while True:
            page = await self.store.rows(_FAMILY, self.group, tag=None, after=after, limit=50)
            rows += page.items
            after = page.after
            if after is None:
                break
        assert [(row.id, value_of(row)) for row in rows] == sorted(truth.items())
        info = await self.store.info(_FAMILY, self.group)
        assert info == GroupInfo(info.capacity, tags=len(counts), count=len(truth)), info
        listed = (await self.store.tags(_FAMILY, self.group, after=None, limit=1000)).items
        assert listed == [TagCount(tag, counts[tag]) for tag in sorted(counts)]

    def _settled(self, name: str) -> int | None:
        (value,) = self._now(name)
        return value

    def _now(self, name: str) -> set[int | None]:
        return self._ledger.allowed(name, self._ledger.now())

    def _fresh(self) -> int:
        self._numbers += 1
        return self._numbers


def record(name: str, value: int) -> Record:
    """The row of that value."""
    place: NDArray[np.float32] = np.array([value % 1000, value // 1000, 1, 0], np.float32)
    return Record(Row(name, tag_of(value), f'{{"value":{value}}}', None), place)


def tag_of(value: int) -> str:
    """The tag that goes with a value."""
    return f"tag{value % _TAGS}"


def value_of(row: Row) -> int:
    """The value in a row, all of whose parts must say the same."""
    value = int(row.desc.removeprefix('{"value":').removesuffix("}"))
    assert row.tag == tag_of(value), f"{row.id} has the desc of one value and the tag of another"
    return value


if __name__ == "__main__":
    main()
