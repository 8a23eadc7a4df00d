"""What happens when many images are added in the background."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import closing, suppress
from dataclasses import dataclass, replace
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
    OutOfResources,
    Overloaded,
)
from app.metrics import StageMetrics, WorkMetrics
from app.services.admission import Admission
from app.services.face_search import FaceSearch
from app.services.image_search import ImageSearch
from app.services.job_folder import (
    Entry,
    JobError,
    JobFacts,
    JobFolder,
    JobState,
    clean,
    folders,
    is_id,
    written_down,
)
from app.store.groups import GroupStore
from app.store.records import Family

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 15.0
_LOOK_S = 0.3  # how often one looks for what another process did

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
    """An import of this process and the task that works on it."""

    def __init__(self, folder: JobFolder) -> None:
        self.folder = folder
        self.task: asyncio.Task[None] | None = None


class Jobs:
    """Imports, one after the other, behind the requests; open it with ``async with``.

    They outlive the clients that ask for them. When the service ends they stop, and when it starts it goes on with
    them: an image that was at work is tried again, and where it is there already its write had happened.

    Several processes of one service may share the folder. Each import belongs to the one that took it, and when that
    one dies to the next that starts; all of them can tell how it stands and end it.

    Args:
        folder: where they are written down.
        store: where rows are kept.
        images: adds images.
        faces: adds faces.
        admission: lets images pass when requests leave room.
        limits: what they may cost.
        shared: whether the folder belongs to a service of several processes, which has cleaned and locked it.
        metrics: told of each image.
        stages: told where its time went.
        ended: hears how each import of this process ended.
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
        shared: bool = False,
        metrics: WorkMetrics,
        stages: StageMetrics,
        ended: Callable[[JobReport], None],
    ) -> None:
        self._folder = folder
        self._store = store
        self._images = images
        self._faces = faces
        self._admission = admission
        self._limits = limits
        self._metrics = metrics
        self._stages = stages
        self._ended = ended
        self._jobs: dict[str, _Job] = {}
        self._coming = 0
        self._entrance = asyncio.Lock()
        self._turn = asyncio.Lock()  # first come, first served
        self._shared = shared
        self._held: IO[str] | None = None
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        if not self._shared:
            self._held = await asyncio.to_thread(taken_alone, self._folder)
        for folder in await asyncio.to_thread(self._left_by_others):
            self._begin(_Job(folder))
        self._watch = asyncio.create_task(self._watch_for_cancels())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = [job.task for job in self._jobs.values() if job.task is not None]
        if self._watch is not None:
            tasks.append(self._watch)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        for job in self._jobs.values():
            job.folder.close()
        if self._held is not None:
            self._held.close()

    async def submit(self, family: Family, group: str, entries: AsyncIterator[Entry], *, key: str = "") -> str:
        """Takes an import, from whoever has a key of that id, and returns its own; when it does, it survives a kill.

        Raises:
            GroupNotFound: no such group; nothing is read then.
            Overloaded: as many imports as may be are not finished.
        """
        await self._store.info(family, group)
        async with self._entrance:
            await asyncio.to_thread(self._make_room)
            self._coming += 1
        try:
            created = datetime.now(UTC).isoformat(timespec="milliseconds")
            job = _Job(await written_down(self._folder, entries, family=family, group=group, created=created, key=key))
        finally:
            self._coming -= 1
        self._begin(job)
        return job.folder.facts.id

    async def report(self, id: str) -> JobReport:  # noqa: A002 (the API's word)
        """How an import stands. Raises JobNotFound."""
        return _report(await asyncio.to_thread(self._seen, id))

    async def reports(self) -> list[JobReport]:
        """All imports that are kept, newest first."""
        found = await asyncio.to_thread(self._all)
        return [_report(job) for job in reversed(found)]

    def sample(self) -> None:
        """Tells how many imports are in each state."""
        found = Counter(job.folder.state for job in list(self._jobs.values()))
        self._metrics.jobs({state.value: found[state] for state in JobState})

    async def cancel(self, id: str) -> JobReport:  # noqa: A002
        """Ends an import; what it stored stays. One that has ended is left as it is. Raises JobNotFound."""
        if id in self._jobs and self._jobs[id].folder.is_kept:
            await self._cancel(self._jobs[id])
        else:
            (await asyncio.to_thread(self._seen, id)).ask_to_cancel()
            while not (await asyncio.to_thread(self._seen, id)).state.is_final:
                await asyncio.sleep(_LOOK_S)
        return await self.report(id)

    async def _cancel(self, job: _Job) -> None:
        if job.task is not None and not job.folder.state.is_final:
            job.task.cancel()
            await asyncio.wait([job.task])
            if not job.folder.state.is_final:
                job.folder.ask_to_cancel()  # it may not be written down at once, or not before the next start
                self._end(job.folder, JobState.CANCELLED)

    async def _watch_for_cancels(self) -> None:
        """Other processes ask for them through the folder."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for job in list(self._jobs.values()):
                if not job.folder.state.is_final and job.folder.is_to_be_cancelled:
                    with suppress(OutOfResources):  # the next look tries again
                        await self._cancel(job)

    def _seen(self, id: str) -> JobFolder:  # noqa: A002
        if id in self._jobs and self._jobs[id].folder.is_kept:
            return self._jobs[id].folder
        # An id names a folder: only what such a name looks like may reach the file system.
        job = JobFolder.seen(self._folder / id) if is_id(id) else None
        if job is None:
            raise JobNotFound
        return job

    def _all(self) -> list[JobFolder]:
        own = {name: job.folder for name, job in list(self._jobs.items()) if job.folder.is_kept}
        found = [own.get(each.name) or JobFolder.seen(each) for each in folders(self._folder)]
        return sorted((job for job in found if job is not None), key=_age)

    def _left_by_others(self) -> list[JobFolder]:
        found = []
        for job in map(JobFolder.opened, folders(self._folder)):
            if job is not None and job.state.is_final:
                job.close()
            elif job is not None:
                found.append(job)
        return sorted(found, key=_age)

    def _make_room(self) -> None:
        kept = self._all()
        ended = [job for job in kept if job.state.is_final]
        for _ in range(len(kept) + self._coming - self._limits.most + 1):
            if not ended:
                message = "As many imports as may be are waiting or running: try again when one has ended."
                raise Overloaded(message, limit=Limit.IMPORTS)
            ended.pop(0).remove()
        for name, job in list(self._jobs.items()):
            if not job.folder.is_kept:
                self._jobs.pop(name, None)

    def _begin(self, job: _Job) -> None:
        self._jobs[job.folder.facts.id] = job
        if not job.folder.state.is_final:
            job.task = asyncio.create_task(self._run(job))

    async def _run(self, job: _Job) -> None:
        pause_s = _FIRST_PAUSE_S
        async with self._turn:
            while not job.folder.state.is_final:
                try:
                    await self._go_through(job.folder)
                except OutOfResources as full:
                    # An import is a promise that was given. What was stored without a note is met again.
                    _log.error("The import %s waits: %s (%s)", job.folder.facts.id, full, full.__cause__)
                    job.folder.resumed = True
                    await asyncio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _go_through(self, folder: JobFolder) -> None:
        state, error, full = JobState.DONE, "", None
        try:
            folder.begin()
            images = folder.images()
            with closing(images):
                async with asyncio.TaskGroup() as group:
                    for _ in range(self._limits.parallel):
                        group.create_task(self._work(folder, images))
        except* OutOfResources as errors:
            full = errors.exceptions[0]
        except* (GroupNotFound, ModelMismatch) as errors:
            first = errors.exceptions[0]
            assert isinstance(first, LikenessError)
            state, error = JobState.FAILED, first.message
        except* Exception as errors:
            _log.error("The import %s failed", folder.facts.id, exc_info=errors)
            state, error = JobState.FAILED, InternalError.sentence
        if full is not None:
            raise full
        self._end(folder, state, error)

    def _end(self, folder: JobFolder, state: JobState, error: str = "") -> None:
        # Told first: killed in between, an import that goes on to its end is told twice rather than never.
        self._ended(replace(_report(folder), state=state, error=error))
        folder.end(state, error)

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


def taken_alone(folder: Path) -> IO[str]:
    """Locks and cleans the folder of imports for one service; closing what is returned lets it go.

    Raises:
        OperatorError: another service has it.
    """
    held = lock(folder / "lock")
    clean(folder)
    return held


def _age(job: JobFolder) -> tuple[str, str]:
    return job.facts.created, job.facts.id


def _report(job: JobFolder) -> JobReport:
    return JobReport(job.facts, job.state, job.done, job.failed, job.rate, list(job.errors), job.error)
