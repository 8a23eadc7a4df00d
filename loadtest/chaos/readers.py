"""Clients that list, count and search while others write, and judge each answer by the writers' books."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from typing import Any

from loadtest.crash_writers import FACE, GROUPS, PHOTO, PICTURES, Told, Writers, picture_uris, tag_of
from tests.running_service import Reply, RunningService, data_uri


class Readers:
    """Threads that read until they are told to stop.

    Args:
        service: whom they ask.
        writers: whose books tell what may be seen; a wrong answer is written down there.
        told: called with each path, its reply and the seconds that it took.
        pause_s: after each call.
    """

    def __init__(self, service: RunningService, writers: Writers, told: Told, *, pause_s: float) -> None:
        self._service = service
        self._writers = writers
        self._told = told
        self._pause_s = pause_s
        self._pictures = picture_uris()
        self._photo = data_uri(PHOTO.read_bytes())
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, *, seed: int, number: int = 3) -> None:
        """So many of them."""
        self._stop.clear()
        self._threads = [
            threading.Thread(target=self._read, args=(random.Random(f"{seed} reader {each}"),), daemon=True)
            for each in range(number)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Waits for the calls under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _read(self, dice: random.Random) -> None:
        actions: list[Callable[[str], None]] = [self._list, self._list, self._count, self._pictures_in, self._faces_in]
        while not self._stop.is_set():
            dice.choice(actions)(dice.choice(GROUPS))
            time.sleep(self._pause_s)

    def _list(self, group: str) -> None:
        since, reply = self._asked("GET", f"{group}/images")
        if reply is None:
            return
        rows = {row["id"]: int(row["desc"]["value"]) for row in reply.body["images"]}
        torn = [row for row in reply.body["images"] if row["tag"] != tag_of(row["desc"]["value"])]
        if torn or len(rows) != len(reply.body["images"]):
            self._wrong(f"a listing of {group} has torn rows {torn}, or an id twice")
        with self._writers.lock:
            for key in {*self._booked(group), *(f"{group}/{name}" for name in rows)}:
                seen = rows.get(key.removeprefix(f"{group}/"))
                allowed = self._writers.rows.allowed(key, since)
                if seen not in allowed:
                    self._wrong(f"a listing has {key} as {seen}: it can only be one of {allowed}")

    def _count(self, group: str) -> None:
        since, reply = self._asked("GET", group)
        if reply is None:
            return
        with self._writers.lock:
            allowed = [self._writers.rows.allowed(key, since) for key in self._booked(group)]
        least = sum(None not in values for values in allowed)
        most = sum(values != {None} for values in allowed)
        if not least <= reply.body["count"] <= most:
            self._wrong(f"{group} counts {reply.body['count']} rows: there are {least} to {most}")

    def _pictures_in(self, _: str) -> None:
        group = GROUPS[0]
        since, reply = self._asked(
            "POST", f"{group}/search", {"images": self._pictures, "threshold": 0.999, "limit": 1000}
        )
        if reply is None:
            return
        found = [{hit["id"] for hit in result["results"]} for result in reply.body["search_results"]]
        with self._writers.lock:
            for key in {*self._booked(group), *(f"{group}/{name}" for hits in found for name in hits)}:
                allowed = self._writers.rows.allowed(key, since)
                may = {None if value is None else value % PICTURES for value in allowed}
                seen: set[int | None] = {
                    number for number in range(PICTURES) if key.removeprefix(f"{group}/") in found[number]
                }
                seen = seen or {None}
                if len(seen) > 1 or seen - may:
                    self._wrong(f"a search finds {key} by the pictures {seen}: it can only be by one of {may}")

    def _faces_in(self, _: str) -> None:
        group = GROUPS[1]
        since, reply = self._asked(
            "POST", f"{group}/pts/search", {"data": [_data(self._photo)], "params": {"threshold": 0.9, "limit": 1000}}
        )
        if reply is None:
            return
        [result] = reply.body["search_results"]
        found = {hit["id"] for hit in result["faces"][0]["faces"]}
        with self._writers.lock:
            for key in {*self._booked(group), *(f"{group}/{name}" for name in found)}:
                allowed = self._writers.rows.allowed(key, since)
                there = key.removeprefix(f"{group}/") in found
                if (there and allowed == {None}) or (not there and None not in allowed):
                    self._wrong(f"a search of faces finds {key}: {there}, and it can only be one of {allowed}")

    def _booked(self, group: str) -> list[str]:
        return [key for key in self._writers.rows.booked() if key.startswith(group)]

    def _asked(self, method: str, path: str, body: Any = None) -> tuple[int, Reply | None]:
        """When it was asked, and the answer if it is one to judge."""
        with self._writers.lock:
            since = self._writers.rows.now()
        family, _, rest = path.partition("/")
        began, reply = time.monotonic(), None
        try:
            reply = self._service.call(method, f"/v1/{family}/groups/{rest}", body)
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            time.sleep(0.05)
        self._told(path, reply, time.monotonic() - began)
        if reply is not None and reply.status in (404, 409):
            self._wrong(f"{path} was answered {reply.status}: {reply.body}")
        return since, reply if reply is not None and reply.status == 200 else None

    def _wrong(self, sentence: str) -> None:
        with self._writers.lock:
            self._writers.wrong.append(sentence)


def _data(photo: str) -> dict[str, Any]:
    return {"uri": photo, "attribute": {"bounding_boxes": [FACE]}}
