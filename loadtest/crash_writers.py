"""Clients that write over HTTP while the service or its database is killed, and remember what they were told."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loadtest.ledger import Ledger
from tests.pictures import drawing, encoded
from tests.running_service import Reply, RunningService, data_uri

KINDS = ("adds", "updates", "deletes", "groups made", "groups removed")
PICTURES = 8
GROUPS = ("image/kept", "face/kept")
VOLATILE = ("image/passing", "face/passing")

Told = Callable[[str, Reply | None, float], None]

PHOTO = Path(__file__).resolve().parent.parent / "docs" / "examples" / "astronaut-2.jpg"
FACE = {"pts": [[109, 41], [165, 41], [165, 112], [109, 112]]}


def picture_uris() -> list[str]:
    """Small pictures, each unlike the others."""
    return [data_uri(encoded(drawing(seed, size=(96, 72)))) for seed in range(PICTURES)]


@dataclass(slots=True)
class Writers:
    """Threads that write until they are told to stop; each row and each group has one writer.

    Attributes:
        service: whom they ask.
        rows: what each row may be: a number, which decides its picture and its tag and stands in its desc.
        groups: what each passing group may be: a number, which is its capacity.
        held: the ids that were acknowledged in each making of a passing group.
        tried: the ids that were sent there.
        acknowledged: answers of 200, by kind.
        unanswered: calls whose outcome nobody was told.
        wrong: answers that no order of the calls explains.
        lock: held by whoever reads or writes these books.
        told: called with each path, its reply (None where there was none) and the seconds that it took.
        pause_s: after each call.
    """

    service: RunningService
    rows: Ledger[int] = field(default_factory=Ledger)
    groups: Ledger[int] = field(default_factory=Ledger)
    held: dict[int, set[str]] = field(default_factory=dict)
    tried: dict[int, set[str]] = field(default_factory=dict)
    acknowledged: Counter[str] = field(default_factory=Counter)
    unanswered: int = 0
    wrong: list[str] = field(default_factory=list)
    lock: threading.RLock = field(default_factory=threading.RLock)
    told: Told = field(default=lambda _path, _reply, _seconds: None)
    pause_s: float = 0.0
    _pictures: list[str] = field(default_factory=picture_uris)
    _photo: str = field(default_factory=lambda: data_uri(PHOTO.read_bytes()))
    _stop: threading.Event = field(default_factory=threading.Event)
    _threads: list[threading.Thread] = field(default_factory=list)
    _numbers: int = 0

    def start(self, *, seed: int) -> None:
        """Six writers of rows and one of each passing group."""
        self._stop.clear()
        tasks: list[tuple[Callable[[int, random.Random], None], int]]
        tasks = [*((self._write_rows, worker) for worker in range(6)), *((self._write_group, at) for at in range(2))]
        self._threads = [
            threading.Thread(target=task, args=(number, random.Random(f"{seed} {position}")), daemon=True)
            for position, (task, number) in enumerate(tasks)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Waits for the calls under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def total(self) -> int:
        """Number of acknowledged writes so far."""
        return self.acknowledged.total()

    # --- rows ---

    def _write_rows(self, worker: int, dice: random.Random) -> None:
        while not self._stop.is_set():
            group = GROUPS[worker % len(GROUPS)]
            name = f"w{worker}-{dice.randrange(12)}"
            key = f"{group}/{name}"
            with self.lock:
                there = self.rows.allowed(key, self.rows.now())
            if None in there:
                self._put("add", group, name, there)
            elif dice.random() < 0.5:
                self._put("update", group, name, there)
            else:
                self._delete(group, name, there)

    def _put(self, call: str, group: str, name: str, there: set[int | None]) -> None:
        key = f"{group}/{name}"
        with self.lock:
            value = self._fresh()
            write = self.rows.begin(key, value)
        status = self._call(f"{group}/{call}", {"image": self._image(group, name, value)})
        with self.lock:
            if status == 200:
                self.rows.answered(write)
                self.acknowledged[f"{call}s"] += 1
            elif status in (404, 409):
                self.rows.refused(write)
                if len(there) == 1:
                    self.wrong.append(f"{call} of {key} was refused with {status}, and it was {there}")

    def _delete(self, group: str, name: str, there: set[int | None]) -> None:
        key = f"{group}/{name}"
        with self.lock:
            write = self.rows.begin(key, None)
        deleted: list[str] = []
        status = self._call(f"{group}/delete", {"ids": [name]}, deleted)
        with self.lock:
            if status == 200:
                self.rows.answered(write)
                self.acknowledged["deletes"] += 1
                if len(there) == 1 and deleted != [name]:
                    self.wrong.append(f"delete of {key} named {deleted}, and it was {there}")

    # --- groups ---

    def _write_group(self, number: int, dice: random.Random) -> None:
        group = VOLATILE[number]
        while not self._stop.is_set():
            with self.lock:
                there = self.groups.allowed(group, self.groups.now())
            if there == {None}:
                self._make(group)
                continue
            if None not in there and dice.random() < 0.7:
                (generation,) = there
                if generation is not None:
                    self._fill(group, generation)
            self._remove(group)

    def _make(self, group: str) -> None:
        with self.lock:
            generation = self._fresh()
            write = self.groups.begin(group, generation)
            self.held[generation], self.tried[generation] = set(), set()
        status = self._call(group, {"config": {"capacity": generation}})
        with self.lock:
            if status == 200:
                self.groups.answered(write)
                self.acknowledged["groups made"] += 1
            elif status == 409:
                self.wrong.append(f"{group} could not be made, though it was removed")

    def _fill(self, group: str, generation: int) -> None:
        for _ in range(2):
            with self.lock:
                value = self._fresh()
                self.tried[generation].add(f"p{value}")
            if self._call(f"{group}/add", {"image": self._image(group, f"p{value}", value)}) == 200:
                with self.lock:
                    self.held[generation].add(f"p{value}")
                    self.acknowledged["adds"] += 1

    def _remove(self, group: str) -> None:
        with self.lock:
            write = self.groups.begin(group, None)
        status = self._call(f"{group}/remove", {})
        with self.lock:
            if status in (200, 404):  # it may never have been made
                self.groups.answered(write)
                self.acknowledged["groups removed"] += status == 200

    # --- calls ---

    def _image(self, group: str, name: str, value: int) -> dict[str, Any]:
        image: dict[str, Any] = {"id": name, "tag": tag_of(value), "desc": {"value": value}}
        if group.startswith("face"):
            return image | {"uri": self._photo, "bounding_box": FACE}
        return image | {"uri": self._pictures[value % PICTURES]}

    def _call(self, path: str, body: Any, deleted: list[str] | None = None) -> int:
        """The status of an answer that tells what became of the write; 0 where nobody can say."""
        family, _, rest = path.partition("/")
        began, reply = time.monotonic(), None
        try:
            reply = self.service.call("POST", f"/v1/{family}/groups/{rest}", body)
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            status = 0
        else:
            status = reply.status
            if deleted is not None and status == 200:
                deleted += reply.body["deleted"]
            if status not in (200, 404, 409, 429, 503, 504):
                with self.lock:
                    self.wrong.append(f"{path} was answered {status}: {reply.body}")
        if status not in (200, 404, 409):
            with self.lock:
                self.unanswered += 1
            time.sleep(0.05)
        self.told(path, reply, time.monotonic() - began)
        time.sleep(self.pause_s)
        return status

    def _fresh(self) -> int:
        self._numbers += 1
        return self._numbers


def tag_of(value: int) -> str:
    """The tag that goes with a value."""
    return f"tag{value % 3}"
