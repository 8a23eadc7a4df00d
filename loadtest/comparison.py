"""Whether what a service shows is what its writers were told, once nothing is under way."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from loadtest.crash_writers import GROUPS, PICTURES, VOLATILE, Writers, picture_uris, tag_of
from tests.running_service import RunningService

_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Differences:
    """A sentence for each.

    Attributes:
        lost: acknowledged adds and updates that are not there.
        undone: acknowledged deletes and removals whose rows or groups are back.
        half: groups that are there in part, or counts that contradict the rows.
    """

    lost: list[str] = field(default_factory=list)
    undone: list[str] = field(default_factory=list)
    half: list[str] = field(default_factory=list)

    @property
    def all(self) -> list[str]:
        """All of them."""
        return [*self.lost, *self.undone, *self.half]


class Comparison:
    """Reads everything and compares it with the books; what was left open is settled by what is there.

    Args:
        service: that was written to.
        writers: whose books they are.
    """

    def __init__(self, service: RunningService, writers: Writers) -> None:
        self._service = service
        self._writers = writers
        self._pictures = picture_uris()

    def make(self, group: str) -> None:
        """Makes a group that is kept."""
        reply = self._ask("POST", group, {"config": {"capacity": 1000}})
        assert reply.status == 200, reply

    def differences(self, when: str) -> Differences:
        """Compares; ``when`` begins each sentence."""
        found = Differences()
        for group in GROUPS:
            seen = self._rows(group, when, found)
            booked = {key.removeprefix(f"{group}/") for key in self._writers.rows.booked() if key.startswith(group)}
            for name in booked | seen.keys():
                key, value = f"{group}/{name}", seen.get(name)
                allowed = self._writers.rows.allowed(key, self._writers.rows.now())
                if value not in allowed:
                    fault = f"{when}: {key} is {value}, and only {allowed} was acknowledged or under way"
                    (found.undone if allowed == {None} else found.lost).append(fault)
                self._writers.rows.settle(key, value)
            if group.startswith("image"):
                self._compare_pictures(group, seen, when, found)
        for group in VOLATILE:
            self._compare_passing(group, when, found)
        return found

    def _compare_passing(self, group: str, when: str, found: Differences) -> None:
        writers = self._writers
        family, _, name = group.partition("/")
        reply = self._ask("GET", group)
        listed = name in self._ask("GET", family).body["groups"]
        if listed != (reply.status == 200):
            found.half.append(f"{when}: {group} is listed: {listed}, and answers {reply.status}")
        generation = reply.body["config"]["capacity"] if reply.status == 200 else None
        allowed = writers.groups.allowed(group, writers.groups.now())
        if generation not in allowed:
            fault = f"{when}: {group} is {generation}, and only {allowed} was acknowledged or under way"
            (found.undone if allowed == {None} else found.lost).append(fault)
        elif generation is not None:
            seen = self._rows(group, when, found).keys()
            found.lost.extend(f"{when}: {group} lost {row}" for row in writers.held[generation] - seen)
            found.undone.extend(f"{when}: {group} has {row}" for row in seen - writers.tried[generation])
        writers.groups.settle(group, generation)

    def _rows(self, group: str, when: str, found: Differences) -> dict[str, int]:
        """The value of each listed row, once counts and tags were compared with them."""
        reply = self._ask("GET", f"{group}/images")
        if reply.status != 200:
            found.half.append(f"{when}: {group} cannot be listed: {reply.body}")
            return {}
        rows = {row["id"]: int(row["desc"]["value"]) for row in reply.body["images"]}
        wrong = [row for row in reply.body["images"] if row["tag"] != tag_of(row["desc"]["value"])]
        tags = Counter(map(tag_of, rows.values()))
        info = self._ask("GET", group).body
        listed = {tag["name"]: tag["count"] for tag in self._ask("GET", f"{group}/tags").body["tags"]}
        if wrong or len(rows) != len(reply.body["images"]) or listed != tags or info["count"] != len(rows):
            found.half.append(f"{when}: {group} has {len(rows)} rows, but {info}, {listed}, {wrong}")
        return rows

    def _compare_pictures(self, group: str, rows: dict[str, int], when: str, found: Differences) -> None:
        """Rows that are not found by their own picture: their embedding is of another write than their desc."""
        body = {"images": self._pictures, "threshold": 0.999, "limit": 1000}
        results = self._ask("POST", f"{group}/search", body).body["search_results"]
        for number in range(PICTURES):
            hits = {hit["id"] for hit in results[number]["results"]}
            expected = {name for name, value in rows.items() if value % PICTURES == number}
            if hits != expected:
                found.half.append(f"{when}: picture {number} finds {hits ^ expected} wrongly or not")

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        """Asks again where a part is away: it may have ended just now, of what was done to it before."""
        family, _, rest = path.partition("/")
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            reply = self._service.call(method, f"/v1/{family}/groups" + (f"/{quote(rest)}" if rest else ""), body)
            if reply.status not in (503, 504) or time.monotonic() > deadline:
                return reply
            time.sleep(0.1)
