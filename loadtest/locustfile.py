"""Locust users who do to a running service what clients do and check what they get back: a wrong answer is a failure.

make load HOST=http://127.0.0.1:8000 USERS=8 TIME=1m        # by itself, prints rates and percentiles
make load WEB=1                                             # with Locust's page on http://127.0.0.1:8089

Each user keeps rows of its own, under a tag of its own, in a group that all share; so it knows what the service must
answer. The groups are made at the start and removed at the end. Locust patches sockets: nothing else may import this.
"""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import gevent
import locust.stats
from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.runners import MasterRunner, WorkerRunner

from loadtest import answers, photo_pool
from loadtest.face_photos import with_faces
from loadtest.photo_pool import Photo
from loadtest.plain_call import post

locust.stats.PERCENTILES_TO_REPORT = [0.5, 0.95, 0.99]

_GROUP = f"load-{secrets.token_hex(4)}"  # of this process: Locust may run several
_CLUSTER = f"{_GROUP}-cluster"
_GROUPS = (("image", _GROUP), ("face", _GROUP), ("face", _CLUSTER))
_CAPACITY = 10_000
_DRAWN = 64
_MOST_ROWS = 40  # of one user
_PAGE = 7
_LIMIT = 100
_TIMEOUT_S = 60


@events.init_command_line_parser.add_listener
def _options(parser: LocustArgumentParser) -> None:
    parser.add_argument(
        "--photos",
        env_var="LOCUST_PHOTOS",
        default="",
        help="Folder of photos for both kinds of groups; without it images are drawn, and faces are those of "
        "../shared/photos where there is such a folder, else of docs/examples.",
    )
    parser.add_argument("--pause", type=float, default=0.0, help="Seconds that each user waits between its calls.")
    parser.add_argument(
        "--once", action="store_true", help="End when each user has made every call once, instead of after a time."
    )


@events.test_start.add_listener
def _begin(environment: Environment, **_: object) -> None:
    if isinstance(environment.runner, MasterRunner):
        return  # its workers have users, groups and photos
    environment.process_exit_code = None  # another try, from Locust's page
    try:
        _read_photos(environment, str(environment.parsed_options.photos))
        for family, name in _GROUPS:
            post(str(environment.host), f"/v1/{family}/groups/{name}", {"config": {"capacity": _CAPACITY}})
        environment.stats.clear_all()  # rates count from here
    except (OSError, ValueError) as error:
        print(f"The test cannot begin at {environment.host}: {error}", flush=True)
        environment.process_exit_code = 2
        if environment.web_ui is None:
            raise SystemExit(2) from error


@events.test_stop.add_listener
def _end(environment: Environment, **_: object) -> None:
    if isinstance(environment.runner, MasterRunner) or environment.process_exit_code == 2:
        return
    for family, name in _GROUPS:
        post(str(environment.host), f"/v1/{family}/groups/{name}/remove", {})


def _told(text: str | None) -> str:
    """What an error says, without what differs from call to call: Locust counts equal texts together."""
    try:
        told = json.loads(text or "")
        return f"{told['code']}: {told['error']}"
    except (ValueError, KeyError, TypeError):
        return (text or "no answer")[:200]


@events.quitting.add_listener
def _judge(environment: Environment, **_: object) -> None:
    if not isinstance(environment.runner, WorkerRunner) and environment.stats.total.num_requests == 0:
        environment.process_exit_code = environment.process_exit_code or 1  # nothing was tested


def _read_photos(environment: Environment, folder: str) -> None:
    ImageUser.photos = photo_pool.of_folder(Path(folder)) if folder else photo_pool.drawn(_DRAWN)
    if FaceUser in environment.user_classes:
        photos = photo_pool.of_folder(Path(folder) if folder else photo_pool.usual_folder())
        FaceUser.photos = with_faces(photos, partial(post, str(environment.host)))


class Client(FastHttpUser):
    """A client with rows of its own in a group that all share."""

    abstract = True
    family: str
    threshold: float
    photos: Sequence[Photo] = ()
    network_timeout = connection_timeout = _TIMEOUT_S
    toured = 0

    def on_start(self) -> None:
        """Makes every call once, so that also a short run has made them all."""
        if not self.photos:  # the test could not begin, as Locust's page does not know
            self.stop()
            return
        self._start_anew()
        try:
            for call in self.tour():
                call()
        finally:
            Client.toured += 1
            if self.environment.parsed_options.once:
                if Client.toured == self.environment.runner.target_user_count:
                    gevent.spawn(self.environment.runner.quit)
                self.stop()

    def wait_time(self) -> float:
        """Seconds until the next call."""
        return float(self.environment.parsed_options.pause)

    def tour(self) -> list[Callable[[], None]]:
        """Every call of this client, in an order in which each has something to do."""
        calls = [self.add, self.add, self.search, self.search_all, self.update, self.search, self.read, self.rows]
        return [*calls, self.delete, self.rows, self.tags, self.info]

    # --- calls ---

    @task(4)
    def add(self) -> None:
        """Adds a photo that it has not added yet; deletes one where it has plenty."""
        held = {photo.name for photo, _ in self._own.values()}
        free = [photo for photo in self.photos if photo.name not in held]
        if not free or len(self._own) >= _MOST_ROWS:
            self.delete()
            return
        row = self._fresh_row()
        self._store("add", row, random.choice(free))

    @task(10)
    def search(self) -> None:
        """Searches inside its own tag with photos that it has added, or others."""
        photos = [self._any_photo() for _ in range(random.choice((1, 1, 1, 4)))]
        body = {"images": [photo.uri for photo in photos], "tag": self._tag, "limit": _LIMIT}

        def check(answer: Any) -> str:
            found = self.hits(answer)
            if len(found) != len(photos):
                return "not one result for each image"
            wrong = [
                answers.of_hits(hits, threshold=self.threshold, limit=_LIMIT)
                or answers.of_own_hits(hits, self._id_of(photo), self._own)
                for photo, hits in zip(photos, found, strict=True)
            ]
            return next(filter(None, wrong), "")

        self._ask("POST", "search", body, name="search (tag)", check=check)

    @task(5)
    def search_all(self) -> None:
        """Searches the whole group."""
        photo = self._any_photo()

        def check(answer: Any) -> str:
            [hits] = self.hits(answer)
            return answers.of_hits(hits, threshold=self.threshold, limit=_LIMIT) or answers.of_open_hits(
                hits, self._id_of(photo), _LIMIT
            )

        self._ask("POST", "search", {"images": [photo.uri], "limit": _LIMIT}, check=check)

    @task(2)
    def update(self) -> None:
        """Replaces the photo and the description of a row."""
        if self._own:
            identity = random.choice(list(self._own))
            photo, _ = self._own[identity]
            self._store("update", {"id": identity, "tag": self._tag, "desc": {"version": self._next()}}, photo)

    @task(2)
    def delete(self) -> None:
        """Deletes a row, with an id beside it that never was."""
        if not self._own:
            return
        identity = random.choice(list(self._own))
        body = {"ids": [identity, f"{self._tag}/never was"]}

        def check(answer: Any) -> str:
            return "" if answer["deleted"] == [identity] else "what was deleted is not what was there"

        if self._ask("POST", "delete", body, check=check) is None:
            self._start_anew()
            return
        del self._own[identity]
        self._ask("GET", f"images/{quote(identity, safe='')}", name="images/<deleted id>", status=404)

    @task(2)
    def read(self) -> None:
        """Reads a row."""
        if self._own:
            identity = random.choice(list(self._own))
            path = f"images/{quote(identity, safe='')}"
            wanted = {"id": identity, "tag": self._tag, "desc": self._own[identity][1]}
            self._ask("GET", path, name="images/<id>", check=lambda answer: answers.of_row(answer, wanted))

    @task(1)
    def rows(self) -> None:
        """Pages through its rows."""
        listed: list[str] = []

        def check(answer: Any) -> str:
            listed.extend(row["id"] for row in answer["images"])
            return "" if answer["marker"] else answers.of_listing(listed, self._own)

        self._walk("images", {"tag": self._tag}, check)

    @task(1)
    def tags(self) -> None:
        """Pages through the tags."""
        counts: dict[str, int] = {}

        def check(answer: Any) -> str:
            counts.update((tag["name"], tag["count"]) for tag in answer["tags"])
            return "" if answer["marker"] else answers.of_tags(counts, self._tag, len(self._own))

        self._walk("tags", {}, check)

    @task(1)
    def info(self) -> None:
        """Asks for the group's counts."""

        def check(answer: Any) -> str:
            return "" if answer["count"] >= len(self._own) else "a group counts fewer rows than were added"

        self._ask("GET", "", check=check)

    # --- what they have in common ---

    def hits(self, answer: Any) -> list[list[dict[str, Any]]]:
        """The hits for each image; for a face search, those of its largest face."""
        return [image["results"] for image in answer["search_results"]]

    def _start_anew(self) -> None:
        """A new tag, with nothing in it: also where a failed write leaves open what is in the old one."""
        self._tag = f"user-{secrets.token_hex(6)}"
        self._number = 0
        self._own: dict[str, tuple[Photo, dict[str, int]]] = {}

    def _next(self) -> int:
        self._number += 1
        return self._number

    def _fresh_row(self) -> dict[str, Any]:
        number = self._next()
        return {"id": f"{self._tag}/{number:06d} 图.jpg", "tag": self._tag, "desc": {"version": number}}

    def _id_of(self, photo: Photo) -> str | None:
        return next((identity for identity, (held, _) in self._own.items() if held.name == photo.name), None)

    def _any_photo(self) -> Photo:
        held = [photo for photo, _ in self._own.values()]
        return random.choice(held if held and random.random() < 0.75 else self.photos)

    def _store(self, call: str, row: dict[str, Any], photo: Photo) -> None:
        body = {"image": {**row, "uri": photo.uri}}
        if self._ask("POST", call, body, check=lambda answer: self.stored(answer, row["id"])) is None:
            self._start_anew()
        else:
            self._own[row["id"]] = (photo, row["desc"])

    def stored(self, answer: Any, identity: str) -> str:
        """What is wrong with the answer to an addition or update."""
        return "" if answer.get("id", identity) == identity else "another id than was given"

    def _walk(self, call: str, query: dict[str, str], check: Callable[[Any], str]) -> None:
        marker = ""
        while True:
            page = urlencode({**query, "limit": _PAGE, "marker": marker})
            answer = self._ask("GET", f"{call}?{page}", name=call, check=check)
            if answer is None or not answer["marker"]:
                return
            marker = answer["marker"]

    def _ask(
        self,
        method: str,
        call: str,
        body: object = None,
        *,
        name: str | None = None,
        status: int = 200,
        check: Callable[[Any], str] = lambda _: "",
        group: str = _GROUP,
    ) -> Any:
        """The answer, or None where it is not the one that is due, which counts as a failure."""
        label = f"/v1/{self.family}/groups/<name>/{call if name is None else name}".rstrip("/")
        path = f"/v1/{self.family}/groups/{group}/{call}".rstrip("/")
        return self._call(method, path, body, label=label, status=status, check=check)

    def _call(
        self, method: str, path: str, body: object, *, label: str, status: int = 200, check: Callable[[Any], str]
    ) -> Any:
        with self.client.request(method, path, json=body, name=label, catch_response=True) as response:
            if response.status_code != status:
                response.failure(f"{response.status_code or response.error}: {_told(response.text)}")
                return None
            try:
                answer = json.loads(response.text)
                wrong = check(answer)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                wrong, answer = f"not of the documented shape ({error!r})", None
            if wrong:
                response.failure(f"Wrong answer: {wrong}")
                return None
            response.success()
            return answer


class ImageUser(Client):
    """Enrols and finds whole images."""

    family = "image"
    threshold = 0.3


class FaceUser(Client):
    """Enrols and finds faces, verifies them, and clusters them in a group beside."""

    family = "face"
    threshold = 0.45

    def on_start(self) -> None:
        """See ``Client.on_start``."""
        self._clustered: dict[str, list[float]] = {}
        super().on_start()

    def tour(self) -> list[Callable[[], None]]:
        """See ``Client.tour``."""
        return [*super().tour(), self.verify, self.cluster, self.cluster]

    def hits(self, answer: Any) -> list[list[dict[str, Any]]]:
        """See ``Client.hits``."""
        return [image["faces"][0]["faces"] if image["faces"] else [] for image in answer["search_results"]]

    def stored(self, answer: Any, identity: str) -> str:
        """See ``Client.stored``; it also says which face was stored, and how good it is."""
        if {"bounding_box", "face_quality"} - answer.keys():
            return "no box or quality of the face"
        return "" if answer["id"] == identity else "another id than was given"

    @task(3)
    def verify(self) -> None:
        """Compares a photo with itself, or with another."""
        path = "/v1/face/verify"
        one, other = random.choice(self.photos), random.choice(self.photos)
        other = random.choice((one, other))

        def check(answer: Any) -> str:
            if not 0 <= answer["score"] <= 1 or len(answer["faces"]) != 2:
                return "no score in [0, 1], or not two faces"
            return "" if one is not other or answer["score"] > 0.95 else "a photo is not like itself"

        self._call("POST", path, {"images": [one.uri, other.uri]}, label=path, check=check)

    @task(3)
    def cluster(self) -> None:
        """Clusters a photo: each of its faces is known, or is new and known from now on."""
        photo = random.choice(self.photos)

        def check(answer: Any) -> str:
            [image] = answer["search_results"]
            if any(not face["faces"] for face in image["faces"]):
                return "a face that has no hit was not stored"
            best = [face["faces"][0]["score"] for face in image["faces"]]
            before = self._clustered.get(photo.name, [])
            self._clustered[photo.name] = best
            return answers.of_cluster(before, best)

        self._ask("POST", "cluster", {"images": [photo.uri], "limit": _LIMIT}, check=check, group=_CLUSTER)
