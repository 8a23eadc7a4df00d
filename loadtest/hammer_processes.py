"""Hammers one Milvus server from several processes at once, as service processes do that share it.

python -m loadtest.hammer_processes --milvus http://127.0.0.1:19530 --processes 4 --rounds 10

Each process writes rows of its own and judges every answer about them; all of them fight for the same new ids and the
same new groups, replace one row that readers must never miss, and read each other's rows. After each round, when nobody
writes, every process must give the same count, tags and listing. With --kill one process is killed in the middle of
each round: the others go on, and what it had acknowledged stays. Ends with an error at the first wrong answer.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from app.errors import GroupExists, IdExists
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Metric
from loadtest.hammer_group import SPACE, record, tag_of, value_of

_FAMILY = Family.IMAGE
_GROUP = "shared-by-processes"
_ALWAYS = "always-there"
_STRIDE = 1_000_000  # values of one process; coordinates of ``record`` tell them apart


@dataclass(frozen=True, slots=True)
class Place:
    """Where the processes meet: Milvus, the prefix of their collections, and what keeps them apart."""

    uri: str
    prefix: str
    locks: str

    def store(self) -> GroupStore:
        """A store of this process."""
        return GroupStore(uri=self.uri, prefix=self.prefix, embedded=False, timeout_s=60, locks=self.locks)


def main() -> None:
    """Reads the arguments; hammers, or is one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--milvus", required=True, help="address of a Milvus server")
    parser.add_argument("--prefix", default="processes", help="first part of the collections' names")
    parser.add_argument("--locks", default="", help="folder or URL of a Redis (default: a folder of this machine)")
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--calls", type=int, default=60, help="of each process in each round")
    parser.add_argument("--kill", action="store_true", help="kill one process in each round")
    parser.add_argument("--process", type=int, default=None, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    place = Place(arguments.milvus, arguments.prefix, arguments.locks)
    if arguments.process is not None:
        asyncio.run(_Process(place, arguments.process).run())
        return
    done = asyncio.run(
        hammer(
            place,
            processes=arguments.processes,
            rounds=arguments.rounds,
            calls=arguments.calls,
            kill=arguments.kill,
        )
    )
    print(f"{'call':<12} {'times':>8}")
    for call, times in sorted(done.items()):
        print(f"{call:<12} {times:>8,}")


# --- the parent ---


async def hammer(place: Place, *, processes: int, rounds: int, calls: int, kill: bool) -> Counter[str]:
    """Starts the processes and compares what they say.

    Returns:
        How often each call was made, and ``killed``, how many processes were.

    Raises:
        AssertionError: an answer was wrong.
    """
    done: Counter[str] = Counter()
    async with place.store() as store:
        await store.create(_FAMILY, _GROUP, capacity=1000, space=SPACE)
        await store.add(_FAMILY, _GROUP, record(_ALWAYS, 0))
        children = [await _Child.started(place, number) for number in range(processes)]
        truth: dict[str, int] = {}
        try:
            for number in range(rounds):
                began = time.monotonic()
                for child in children:
                    child.tell({"round": number, "calls": calls})
                if kill:
                    await asyncio.sleep(random.uniform(0.2, 1.0))
                    victim = random.choice(children)
                    await victim.kill()
                    done["killed"] += 1
                    children[children.index(victim)] = await _Child.started(place, victim.number)
                    survivors = [child for child in children if child.number != victim.number]
                else:
                    survivors = children
                answers = [await child.heard() for child in survivors]
                _one_winner_each(answers, exact=not kill)
                for answer in answers:
                    done.update(answer["done"])
                    truth = {name: value for name, value in truth.items() if name not in answer["gone"]}
                    truth.update(answer["kept"])
                for child in children:
                    child.tell({"state": True})
                states = [await child.heard() for child in children]
                _compare(states, truth, survivors=[child.number for child in survivors])
                # What a killed process had under way is settled now: this is the truth of the next round.
                truth = states[0]["rows"]
                print(f"round {number}: {len(truth)} rows, {time.monotonic() - began:.1f} s", flush=True)
        finally:
            for child in children:
                await child.kill()
            for name in await store.names(_FAMILY):
                await store.remove(_FAMILY, name)
    return done


def _one_winner_each(answers: list[dict[str, Any]], *, exact: bool) -> None:
    for kind in ("ids", "groups"):
        wins = Counter(name for answer in answers for name in answer["won"][kind])
        tried = {name for answer in answers for name in answer["tried"][kind]}
        assert all(times == 1 for times in wins.values()), f"two processes won the same of the {kind}: {wins}"
        # Where one was killed it may have won without having told.
        assert not exact or set(wins) == tried, f"nobody won these {kind}: {tried - set(wins)}"


def _compare(states: list[dict[str, Any]], truth: dict[str, int], *, survivors: list[int]) -> None:
    first = states[0]
    for state in states[1:]:
        assert state == first, "two processes see different things while nobody writes"
    for name, value in truth.items():
        owner = name.partition("-")[0]
        if owner.startswith("p") and int(owner[1:]) in survivors:
            assert first["rows"].get(name) == value, f"{name} should be {value}, not {first['rows'].get(name)}"
    mine = {f"p{number}" for number in survivors}
    for name in first["rows"]:
        if name.partition("-")[0] in mine:
            assert name in truth, f"{name} should be gone"
    assert _ALWAYS in first["rows"]
    tags = Counter(tag_of(value) for value in first["rows"].values())
    assert first["tags"] == dict(sorted(tags.items())), "the counted tags are not those of the rows"
    assert first["count"] == len(first["rows"]), "the count is not that of the rows"


class _Child:
    def __init__(self, number: int, process: asyncio.subprocess.Process) -> None:
        self.number = number
        self._process = process

    @classmethod
    async def started(cls, place: Place, number: int) -> _Child:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "loadtest.hammer_processes", "--milvus", place.uri, "--prefix", place.prefix,
            "--locks", place.locks, "--process", str(number),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=1 << 26,
        )  # fmt: skip
        child = cls(number, process)
        assert await child.heard() == "ready"
        return child

    def tell(self, what: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")

    async def heard(self) -> Any:
        assert self._process.stdout is not None
        async with asyncio.timeout(300):
            line = await self._process.stdout.readline()
        assert line, f"process {self.number} ended: what it says is above"
        return json.loads(line)

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()


# --- one process ---


class _Process:
    def __init__(self, place: Place, number: int) -> None:
        self._place = place
        self._number = number
        self._values = number * _STRIDE
        self._done: Counter[str] = Counter()
        self._rows: dict[str, int] = {}
        self._gone: set[str] = set()
        self._won: dict[str, list[str]] = {}
        self._tried: dict[str, list[str]] = {}

    async def run(self) -> None:
        async with self._place.store() as store:
            self._rows = {
                name: value for name, value in (await _listing(store)).items() if name.startswith(f"p{self._number}-")
            }
            _say("ready")
            while line := await asyncio.to_thread(sys.stdin.readline):
                order = json.loads(line)
                if "state" in order:
                    _say(await _state(store))
                    continue
                await self._round(store, order["round"], order["calls"])
                answer = {
                    "done": self._done, "kept": self._rows, "gone": sorted(self._gone),
                    "won": self._won, "tried": self._tried,
                }  # fmt: skip
                _say(answer)

    async def _round(self, store: GroupStore, number: int, calls: int) -> None:
        self._done, self._gone = Counter(), set()
        self._won, self._tried = {"ids": [], "groups": []}, {"ids": [], "groups": []}
        dice = random.Random(f"{self._number} {number}")
        async with asyncio.TaskGroup() as group:
            group.create_task(self._fight(store, number))
            for worker in range(4):
                group.create_task(self._work(store, dice, f"p{self._number}-{worker}", calls // 4))

    async def _work(self, store: GroupStore, dice: random.Random, name: str, calls: int) -> None:
        actions = [self._write, self._write, self._delete, self._replace_shared, self._read, self._search]
        for _ in range(calls):
            action = dice.choice(actions)
            self._done[action.__name__.strip("_")] += 1
            await action(store, name)

    async def _write(self, store: GroupStore, name: str) -> None:
        value = self._fresh()
        if name in self._rows:
            await store.update(_FAMILY, _GROUP, record(name, value))
        else:
            await store.add(_FAMILY, _GROUP, record(name, value))
        self._rows[name] = value
        self._gone.discard(name)

    async def _delete(self, store: GroupStore, name: str) -> None:
        deleted = await store.delete(_FAMILY, _GROUP, [name])
        assert deleted == ([name] if name in self._rows else []), f"the delete of {name} named {deleted}"
        self._rows.pop(name, None)
        self._gone.add(name)

    async def _replace_shared(self, store: GroupStore, name: str) -> None:
        del name
        await store.update(_FAMILY, _GROUP, record(_ALWAYS, self._fresh()))

    async def _read(self, store: GroupStore, name: str) -> None:
        rows = await _listing(store)
        assert rows.get(name) == self._rows.get(name), f"{name} is seen as {rows.get(name)}"
        assert _ALWAYS in rows, "a row that is replaced was seen by nobody for a moment"
        found = await store.rows_of(_FAMILY, _GROUP, [_ALWAYS])
        assert found, "a row that is replaced was seen by nobody for a moment"

    async def _search(self, store: GroupStore, name: str) -> None:
        (hits,) = await store.search(_FAMILY, _GROUP, record("", 5).embedding[np.newaxis], limit=1000, bound=1e9)
        seen = {hit.row.id: value_of(hit.row) for hit in hits}
        assert len(seen) == len(hits), "a search finds an id twice"
        assert seen.get(name) == self._rows.get(name), f"a search sees {name} as {seen.get(name)}"
        assert _ALWAYS in seen, "a row that is replaced was found by nobody for a moment"

    async def _fight(self, store: GroupStore, number: int) -> None:
        """Ids and groups that every process wants to be the first to make."""
        for turn in range(6):
            name = f"fight-{number}-{turn}"
            self._tried["ids"].append(name)
            with contextlib.suppress(IdExists):
                await store.add(_FAMILY, _GROUP, record(name, self._fresh()))
                self._won["ids"].append(name)
        name = f"made-{number}"
        self._tried["groups"].append(name)
        while name not in await store.names(_FAMILY):
            try:
                await store.create(_FAMILY, name, capacity=10, space=EmbeddingSpace("m", 4, Metric.L2))
            except GroupExists:
                await asyncio.sleep(0.05)  # the winner is at it still, or was killed
            else:
                self._won["groups"].append(name)
        assert (await store.info(_FAMILY, name)).count == 0

    def _fresh(self) -> int:
        self._values += 1
        return self._values


async def _listing(store: GroupStore) -> dict[str, int]:
    rows: dict[str, int] = {}
    after: str | None = None
    while True:
        page = await store.rows(_FAMILY, _GROUP, tag=None, after=after, limit=50)
        rows.update((row.id, value_of(row)) for row in page.items)
        after = page.after
        if after is None:
            return rows


async def _state(store: GroupStore) -> dict[str, Any]:
    rows = await _listing(store)
    info = await store.info(_FAMILY, _GROUP)
    tags = (await store.tags(_FAMILY, _GROUP, after=None, limit=1000)).items
    return {
        "rows": rows,
        "count": info.count,
        "tags": {tag.name: tag.count for tag in tags},
        "groups": await store.names(_FAMILY),
    }


def _say(what: object) -> None:
    print(json.dumps(what, default=dict), flush=True)


if __name__ == "__main__":
    main()
