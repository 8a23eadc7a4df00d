"""Imports in the background over HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from app.access.key import KeyRole
from app.api import face_schemas, schemas, validation
from app.api.faces import new_face
from app.api.lines import lines
from app.api.operations import LINES, Answer, Call, Operation
from app.api.rows import new_image
from app.api.validation import parse_body
from app.errors import GroupNotFound, InvalidRequest, JobNotFound, RequestTimeout, TooLarge
from app.services.face_search import NewFace
from app.services.job_folder import MOST_ERRORS, Entry, JobState
from app.services.jobs import JobReport
from app.store.records import Family

_TAG = "Jobs"
_ID = "q83vEjRWeJCrze8SNFZ4kA"
_REPORT = {
    "job": _ID,
    "family": "face",
    "group": "staff",
    "created": "2026-01-01T09:30:00.000+00:00",
    "state": "running",
    "done": 1200,
    "failed": 1,
    "total": 5000,
    "rate": 24.6,
    "errors": [{"index": 17, "id": "staff/door.jpg", "code": "no_face", "message": "No face was found in the image."}],
    "error": "",
}


class ImportAccepted(Struct):
    """The import was taken, and goes on whether or not its client stays."""

    job: Annotated[str, Meta(description="Its id, for `/v1/jobs/<job>`.", examples=[_ID])]


class FailedImport(Struct):
    """An image that was not stored."""

    index: Annotated[int, Meta(ge=0, description="Position of its line, from 0; empty lines do not count.")]
    id: str
    code: Annotated[str, Meta(description="As of the error that adding it alone would give.")]
    message: str


class Job(Struct):
    """How an import stands."""

    job: str
    family: str
    group: str
    created: Annotated[str, Meta(description="When it was taken, UTC in ISO 8601.")]
    state: Annotated[str, Meta(description=f"One of: {', '.join(f'`{state}`' for state in JobState)}.")]
    done: Annotated[schemas.Count, Meta(description="Images that are stored.")]
    failed: Annotated[schemas.Count, Meta(description="Images that are not.")]
    total: schemas.Count
    rate: Annotated[float, Meta(ge=0, description="Images per second, since the service last started at most.")]
    errors: Annotated[list[FailedImport], Meta(description=f"The first {MOST_ERRORS} images that failed.")]
    error: Annotated[str, Meta(description="Why the whole import has the state `failed`; else empty.")]


class JobList(Struct):
    """Imports that are waiting, running or ended not long ago."""

    jobs: Annotated[list[Job], Meta(description="Newest first.")]


def import_operations(family: Family) -> list[Operation]:
    """The operation that imports into a group of one family."""
    faces = family is Family.FACE
    image: dict[str, object] = {"id": "staff/ada.jpg", "uri": "https://example.com/ada.jpg", "tag": "staff"}

    async def take(call: Call) -> Answer:
        name = validation.group_name(call.path["name"], faces=faces)
        longest = 2 * call.settings.max_image_bytes  # a third more in base64, and what stands around it
        too_long = TooLarge(f"A line of the body is longer than {longest} bytes: send smaller images.")
        async with aclosing(lines(call.body, longest=longest, too_long=too_long)) as sent:
            entries = _entries(sent, faces=faces)
            job = await call.services.jobs.submit(family, name, entries, key=call.caller.key_id)
        return Answer(ImportAccepted(job), 202)

    return [
        Operation(
            "POST",
            f"/v1/{family}/groups/{{name}}/import",
            f"import{'Face' if faces else 'Image'}s",
            "Faces" if faces else "Images",
            "Add many images in the background",
            take,
            ImportAccepted,
            body=face_schemas.PutFace if faces else schemas.PutImage,
            body_kind=LINES,
            body_limit=lambda settings: settings.import_max_bytes,
            answer_status=202,
            doc="JSON Lines: each line is the body of an add. The answer comes when all lines are written down; from "
            "then on the import survives its client, and also a crash of the service, which goes on with it at its "
            "next start. Imports run one after the other, behind the requests. A line that does not fit fails alone; "
            "of several lines with one id any one is stored.",
            errors=(GroupNotFound, RequestTimeout),
            body_example={"image": image},
            answer_example={"job": _ID},
            role=KeyRole.WRITE,
        )
    ]


def job_operations() -> list[Operation]:
    """The operations on imports that were taken."""
    one = "/v1/jobs/{job}"
    return [
        Operation(
            "GET",
            "/v1/jobs",
            "listJobs",
            _TAG,
            "List the imports",
            _list,
            JobList,
            answer_example={"jobs": [_REPORT]},
            role=KeyRole.READ,
        ),
        Operation(
            "GET",
            one,
            "getJob",
            _TAG,
            "See how an import stands",
            _get,
            Job,
            errors=(JobNotFound,),
            answer_example=_REPORT,
            role=KeyRole.READ,
        ),
        Operation(
            "POST",
            f"{one}/cancel",
            "cancelJob",
            _TAG,
            "End an import",
            _cancel,
            Job,
            doc="What is stored stays. An import that has ended is left as it is.",
            errors=(JobNotFound,),
            answer_example=_REPORT | {"state": "cancelled"},
            role=KeyRole.WRITE,
        ),
    ]


async def _list(call: Call) -> JobList:
    return JobList([_shape(report) for report in await call.services.jobs.reports() if _sees(call, report)])


async def _get(call: Call) -> Job:
    report = await call.services.jobs.report(call.path["job"])
    if not _sees(call, report):
        raise JobNotFound
    return _shape(report)


async def _cancel(call: Call) -> Job:
    if not _sees(call, await call.services.jobs.report(call.path["job"])):
        raise JobNotFound
    return _shape(await call.services.jobs.cancel(call.path["job"]))


def _sees(call: Call, report: JobReport) -> bool:
    return call.caller.sees(report.facts.family, report.facts.group)


async def _entries(sent: AsyncGenerator[bytes, None], *, faces: bool) -> AsyncGenerator[Entry, None]:
    empty = True
    async for line in sent:
        if line.strip():
            yield _entry(line, faces=faces)
            empty = False
    if empty:
        raise InvalidRequest("The body has no images: send a line for each, such as an add has for its body.")


def _entry(line: bytes, *, faces: bool) -> Entry:
    """What a line asks for, or what is wrong with it."""
    name = ""
    try:
        if faces:
            face = parse_body(line, face_schemas.PutFace)
            name = face.image.id or ""
            return Entry(new_face(face, id_required=False))
        image = parse_body(line, schemas.PutImage).image
        name = image.id or ""
        return Entry(NewFace(new_image(image, id_required=False)))
    except InvalidRequest as error:
        return Entry(None, name if validation.is_possible_id(name or "-") else "", error.code, error.message)


def _shape(report: JobReport) -> Job:
    facts = report.facts
    return Job(
        job=facts.id,
        family=facts.family.value,
        group=facts.group,
        created=facts.created,
        state=report.state.value,
        done=report.done,
        failed=report.failed,
        total=facts.total,
        rate=round(report.rate, 3),
        errors=[msgspec.convert(error, FailedImport, from_attributes=True) for error in report.errors],
        error=report.error,
    )
