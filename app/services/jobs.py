"""What happens when many images are added in the background."""

from __future__ import annotations

import asyncio
import logging
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from app.embedded.lock import lock
from app.errors import (
    BackendUnavailable,
    DeadlineExceeded,
    GroupNotFound,
    IdExists,
    InternalError,
    JobNotFound,
    LikenessError,
    Limit,
    ModelMismatch,
    Overloaded,
)
from app.metrics import StageMetrics, WorkMetrics
from app.services.admission import Admission
from app.services.face_search import FaceSearch
from app.services.image_search import ImageSearch
from app.services.job_folder import Entry, JobError, JobFacts, JobFolder, JobState, written_down
from app.store.groups import GroupStore
from app.store.records import Family

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0

_log = logging.getLogger("likeness.jobs")


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What imports may cost.

    Attributes:
        most: imports that are kept, finished ones included.
        parallel: images at work at the same time.
        image_timeout_s: seconds that one image may take.
    """

    most: int
    parallel: int
    image_timeout_s: float


@dataclass(frozen=True, slots=True)
class JobReport:
    """How an import stands.

    Attributes:
        facts: what it is.
        state: where it is.
        done: images that are stored.
        failed: images that are not.
        rate: images per second since this process works on it.
        errors: why images failed, of the first of them.
        error: why the whole import failed.
    """

    facts: JobFacts
    state: JobState
    done: int
    failed: int
    rate: float
    errors: list[JobError]
    error: str


class _Job:
    """An import and the task that works on it."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self.task: asyncio.Task[None] | None = None
        self.began = 0.0
        self.before = 0
        self.seconds = 0.0

    def report(self) -> JobReport:
        folder = self.folder
        seconds = time.monotonic() - self.began if folder.state is JobState.RUNNING else self.seconds
        dealt = folder.done + folder.failed - self.before
        rate = dealt / seconds if seconds > 0 else 0.0
        return JobReport(
            folder.facts, folder.state, folder.done, folder.failed, rate, list(folder.errors), folder.error
        )


class Jobs:
    """Imports, one after the other, behind the requests; open it with ``async with``.

    They outlive the clients that ask for them. When the service ends they stop, and when it starts it goes on with
    them: an image that was at work is tried again, and where it is there already its write had happened.

    Args:
        folder: where they are written down.
        store: where rows are kept.
        images: adds images.
        faces: adds faces.
        admission: lets images pass when requests leave room.
        limits: what they may cost.
        metrics: told of each image.
        stages: told where its time went.
    """

    def __init__(
        self,
        folder: Path,
        store: GroupStore,
        *,
        images: ImageSearch,
        faces: FaceSearch,
        admission: Admission,
        limits: JobLimits,
        metrics: WorkMetrics,
        stages: StageMetrics,
    ) -> None:
        self._folder = folder
        self._store = store
        self._images = images
        self._faces = faces
        self._admission = admission
        self._limits = limits
        self._metrics = metrics
        self._stages = stages
        self._jobs: dict[str, _Job] = {}
        self._coming = 0
        self._turn = asyncio.Lock()  # first come, first served
        self._held: IO[str] | None = None

    async def __aenter__(self) -> Self:
        self._held = lock(self._folder / "lock")
        found = await asyncio.to_thread(self._found)
        for folder in sorted(found, key=lambda each: (each.facts.created, each.facts.id)):
            self._begin(_Job(folder))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for job in self._jobs.values():
            job.folder.close()
        if self._held is not None:
            self._held.close()

    async def submit(self, family: Family, group: str, entries: AsyncIterator[Entry]) -> str:
        """Takes an import and returns its id; when it does, the import survives a kill.

        Raises:
            GroupNotFound: no such group; nothing is read then.
            Overloaded: as many imports as may be are not finished.
        """
        await self._store.info(family, group)
        self._make_room()
        self._coming += 1
        try:
            created = datetime.now(UTC).isoformat(timespec="milliseconds")
            job = _Job(await written_down(self._folder, entries, family=family, group=group, created=created))
        finally:
            self._coming -= 1
        self._begin(job)
        return job.folder.facts.id

    def report(self, id: str) -> JobReport:  # noqa: A002 (the API's word)
        """How an import stands. Raises JobNotFound."""
        return self._job(id).report()

    def reports(self) -> list[JobReport]:
        """All imports that are kept, newest first."""
        return [job.report() for job in reversed(self._jobs.values())]

    def sample(self) -> None:
        """Tells how many imports are in each state."""
        found = Counter(job.folder.state for job in self._jobs.values())
        self._metrics.jobs({state.value: found[state] for state in JobState})

    async def cancel(self, id: str) -> JobReport:  # noqa: A002
        """Ends an import; what it stored stays. One that has ended is left as it is. Raises JobNotFound."""
        job = self._job(id)
        if job.task is not None and not job.folder.state.is_final:
            job.task.cancel()
            await asyncio.wait([job.task])
            if not job.folder.state.is_final:
                job.folder.end(JobState.CANCELLED)
        return job.report()

    def _job(self, id: str) -> _Job:  # noqa: A002
        if id not in self._jobs:
            raise JobNotFound
        return self._jobs[id]

    def _found(self) -> list[JobFolder]:
        found = []
        for each in filter(Path.is_dir, self._folder.iterdir()):
            job = JobFolder.opened(each)
            if job is None:
                shutil.rmtree(each, ignore_errors=True)  # its client never heard of it
            else:
                found.append(job)
        return found

    def _make_room(self) -> None:
        ended = [job for job in self._jobs.values() if job.folder.state.is_final]
        while len(self._jobs) + self._coming >= self._limits.most:
            if not ended:
                message = "As many imports as may be are waiting or running: try again when one has ended."
                raise Overloaded(message, limit=Limit.IMPORTS)
            oldest = ended.pop(0)
            del self._jobs[oldest.folder.facts.id]
            oldest.folder.remove()

    def _begin(self, job: _Job) -> None:
        self._jobs[job.folder.facts.id] = job
        if not job.folder.state.is_final:
            job.task = asyncio.create_task(self._run(job))

    async def _run(self, job: _Job) -> None:
        folder = job.folder
        try:
            async with self._turn:
                folder.state = JobState.RUNNING
                job.began, job.before = time.monotonic(), folder.done + folder.failed
                images = folder.images()
                with closing(images):
                    async with asyncio.TaskGroup() as group:
                        for _ in range(self._limits.parallel):
                            group.create_task(self._work(folder, images))
            folder.end(JobState.DONE)
        except* (GroupNotFound, ModelMismatch) as errors:
            first = errors.exceptions[0]
            assert isinstance(first, LikenessError)
            folder.end(JobState.FAILED, first.message)
        except* Exception as errors:
            _log.error("The import %s failed", folder.facts.id, exc_info=errors)
            folder.end(JobState.FAILED, InternalError.sentence)
        finally:
            job.seconds = time.monotonic() - job.began if job.began else 0.0

    async def _work(self, folder: JobFolder, images: Generator[tuple[int, Entry], None, None]) -> None:
        for index, entry in images:  # shared: each is taken once
            error = await self._outcome(folder, index, entry)
            folder.note(index, error)
            self._metrics.image("ok" if error is None else error.code)

    async def _outcome(self, folder: JobFolder, index: int, entry: Entry) -> JobError | None:
        new = entry.new
        if new is None:
            return JobError(index=index, id=entry.id, code=entry.code, message=entry.message)
        # Whether it may have been stored without anybody having written that down.
        uncertain = folder.resumed
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                async with self._admission.behind(), asyncio.timeout(self._limits.image_timeout_s):
                    with self._stages.stopwatch():
                        if folder.facts.family is Family.FACE:
                            await self._faces.add(folder.facts.group, new)
                        else:
                            await self._images.add(folder.facts.group, new.image)
            except TimeoutError:
                error: LikenessError = DeadlineExceeded("The image took too long.")
            except (Overloaded, BackendUnavailable) as busy:
                # It comes back, and the import is a promise that was given.
                uncertain = uncertain or isinstance(busy, BackendUnavailable)
                await asyncio.sleep(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
                continue
            except (GroupNotFound, ModelMismatch):
                raise
            except LikenessError as refused:
                if uncertain and isinstance(refused, IdExists):
                    return None
                error = refused
            except Exception as failure:
                _log.error("%s of the import %s: %s", index, folder.facts.id, failure, exc_info=failure)
                error = InternalError()
            else:
                return None
            return JobError(index=index, id=new.image.id, code=error.code, message=error.message)
