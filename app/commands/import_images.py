"""``likeness import``: adds many images to a group of the running service, and can be killed at any time."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import UNSET

from app.commands.image_list import Candidate, image_list
from app.commands.journal import Begin, Journal, Outcome, Status, open_journal
from app.commands.progress import Progress, progress_text
from app.commands.service import Reply, Service, Unanswered, group_path, key_headers, open_service
from app.config import Settings
from app.errors import OperatorError

# The service's own time limit comes first, and is answered with a sentence.
_GRACE_S = 30
# What is wrong with the whole import, not with one image.
_OF_THE_GROUP = frozenset(
    {"group_not_found", "invalid_group_name", "model_mismatch", "not_likeness", "unauthorized", "forbidden"}
)
_BUSY = frozenset({429, 503})


@dataclass(frozen=True, slots=True)
class ImportOrder:
    """What the operator wants.

    Attributes:
        url: where the service is.
        family: ``face`` or ``image``.
        group: name of the group.
        source: a folder or a list of images.
        result: file to write what became of each image to.
        parallel: images on their way at the same time.
        tag: of all images; empty for that which the source gives.
        reject_bad_face: whether faces that are not clear and upright are refused.
        capacity: makes the group, for so many images, where it is not there; None where it must be.
    """

    url: str
    family: str
    group: str
    source: Path
    result: Path
    parallel: int = 8
    tag: str = ""
    reject_bad_face: bool = False
    capacity: int | None = None


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a service that is busy or away is asked again, and after how many seconds."""

    tries: int = 9
    first_s: float = 0.5
    longest_s: float = 30.0

    def wait_s(self, attempt: int, wanted_s: float | None) -> float:
        """Seconds before the try after this one, the first of which is 0."""
        return min(max(self.first_s * 2.0**attempt, wanted_s or 0.0), self.longest_s)


def import_images(
    order: ImportOrder, settings: Settings, say: Callable[[object], None], *, patience: Patience | None = None
) -> int:
    """Imports, and returns the exit status: 1 where an image failed.

    Args:
        order: what to import.
        settings: of the service, for its time limit and its largest image.
        say: prints.
        patience: with a service that is busy or away.

    Raises:
        OperatorError: it cannot begin, or not go on; what is done stays done, and the same command goes on with it.
    """
    begin = Begin(family=order.family, group=order.group, source=order.source.absolute().name)
    images = image_list(order.source)
    with open_journal(order.result, begin) as journal:
        run = _Import(order, settings, journal, patience or Patience())
        candidates, total = iter(images), len(images)
        started = time.monotonic()
        try:
            asyncio.run(run.run(candidates, total))
        except ExceptionGroup as failures:  # the first of those who were at work tells for all
            raise failures.exceptions[0] from None
        for line in _summary(order, journal, skipped=run.skipped, seconds=time.monotonic() - started):
            say(line)
        return 1 if journal.count(Status.FAILED) else 0


class _Import:
    """One run of an import."""

    def __init__(self, order: ImportOrder, settings: Settings, journal: Journal, patience: Patience) -> None:
        self._order = order
        self._journal = journal
        self._patience = patience
        self._read_timeout_s = settings.request_timeout + _GRACE_S
        self._headers = key_headers(settings)
        self._most_bytes = settings.max_image_bytes
        self._path = group_path(order.family, order.group)
        self._progress = Progress()
        self.skipped = 0

    async def run(self, candidates: Iterator[Candidate], total: int) -> None:
        """Imports all candidates, some at a time; none waits in memory but those on their way."""
        parallel = self._order.parallel
        started = time.monotonic()
        async with open_service(
            self._order.url, connections=parallel, read_timeout_s=self._read_timeout_s, headers=self._headers
        ) as service:
            await self._prepare(service)

            async def work() -> None:
                for candidate in candidates:  # shared: each is taken once
                    if candidate.id in self._journal.done and not candidate.fault:
                        self.skipped += 1
                    else:
                        self._journal.note(await self._outcome(service, candidate))
                    failed = self._journal.count(Status.FAILED)
                    done = self.skipped + sum(map(self._journal.count, Status))
                    seconds = time.monotonic() - started
                    self._progress.show(progress_text(done, total, failed, seconds, started=self.skipped))

            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(parallel):
                        group.create_task(work())
            finally:
                self._progress.clear()

    async def _prepare(self, service: Service) -> None:
        """Makes the group where that is wanted, and sees that it is there."""
        try:
            if self._order.capacity is not None:
                body = {"config": {"capacity": self._order.capacity}}
                reply = await service.call("POST", self._path, body)
                if reply.status == 200 or reply.error.code == "group_exists":
                    return
            else:
                reply = await service.call("GET", self._path)
        except Unanswered as error:
            raise service.nobody from error
        if reply.status != 200:
            raise OperatorError(reply.error.error)

    async def _outcome(self, service: Service, candidate: Candidate) -> Outcome:
        if candidate.fault:
            return _failed(candidate, "invalid_line", candidate.fault)
        uri = candidate.uri
        if candidate.path is not None:
            try:
                uri = await asyncio.to_thread(_data_uri, candidate.path, self._most_bytes)
            except OSError as error:
                return _failed(
                    candidate, "unreadable_file", f"It cannot be read ({(error.strerror or str(error)).lower()})."
                )
            except ValueError as error:
                return _failed(candidate, "too_large", str(error))
        image: dict[str, Any] = {"id": candidate.id, "uri": uri, "tag": self._order.tag or candidate.tag}
        given = {"desc": candidate.desc, "bounding_box": candidate.bounding_box}
        image |= {name: value for name, value in given.items() if value is not UNSET}
        body: dict[str, Any] = {"image": image}
        if self._order.reject_bad_face:
            body["params"] = {"reject_bad_face": True}
        return await self._sent(service, candidate, body)

    async def _sent(self, service: Service, candidate: Candidate, body: dict[str, Any]) -> Outcome:
        # Whether this image may have been stored by a try whose answer nobody read.
        uncertain = self._journal.resumed
        reply: Reply | None = None
        for attempt in range(self._patience.tries):
            if attempt:
                wanted_s = reply.retry_after_s if reply is not None else None
                await asyncio.sleep(self._patience.wait_s(attempt - 1, wanted_s))
            try:
                reply = await service.call("POST", f"{self._path}/add", body)
            except Unanswered:
                reply, uncertain = None, True
                continue
            if reply.status not in _BUSY:
                break
            uncertain = uncertain or reply.status == 503
        else:
            raise self._given_up(service, reply)
        if reply.status == 200:
            return Outcome(id=candidate.id, status=Status.ADDED)
        error = reply.error
        if error.code in _OF_THE_GROUP:
            raise OperatorError(error.error)
        if error.code == "id_exists" and uncertain:
            return Outcome(id=candidate.id, status=Status.THERE)
        return _failed(candidate, error.code, error.error)

    def _given_up(self, service: Service, reply: Reply | None) -> OperatorError:
        why = f"answers: {reply.error.error}" if reply is not None else "does not answer any more."
        return OperatorError(
            f"The service at {service.url} {why} What is done is in {self._order.result}: run the same command again "
            "to go on."
        )


def default_result(family: str, group: str, source: Path) -> Path:
    """The result file of an import for which none is named."""
    return Path(f"import-{family}-{group.replace('/', '_')}-{source.absolute().stem}.jsonl")


def _data_uri(path: Path, most_bytes: int) -> str:
    """The file as a data URI.

    Raises:
        OSError: it cannot be read.
        ValueError: it is too large.
    """
    with path.open("rb") as file:
        data = file.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"The file is larger than {most_bytes} bytes: send a smaller image.")
    return f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"


def _failed(candidate: Candidate, code: str, message: str) -> Outcome:
    place = "" if candidate.id else candidate.place
    return Outcome(id=candidate.id, status=Status.FAILED, place=place, code=code, message=message)


def _summary(order: ImportOrder, journal: Journal, *, skipped: int, seconds: float) -> Iterator[str]:
    counts = {status: journal.count(status) for status in Status}
    tried = sum(counts.values())
    rate = f", {tried / seconds:.1f} images/s" if tried and seconds > 0 else ""
    parts = [f"{counts[Status.ADDED]:,} added"]
    parts += [f"{count:,} {what}" for count, what in (
        (counts[Status.THERE], Status.THERE), (skipped, "done before"), (counts[Status.FAILED], "failed"),
    ) if count]  # fmt: skip
    yield f"{order.group}: {', '.join(parts)}{rate}."
    for code, count in journal.codes.most_common():
        yield f"  {count:,} × {code}"
    if counts[Status.FAILED]:
        yield f"Which ones and why is in {order.result}; the same command tries them again."
