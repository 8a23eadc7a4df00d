"""Imports on disk: what is written down is read back, whatever the moment of a kill."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.services.face_search import NewFace
from app.services.job_folder import (
    MOST_ERRORS,
    Entry,
    JobError,
    JobFolder,
    JobState,
    clean,
    folders,
    is_id,
    written_down,
)
from app.services.rows import NewImage
from app.store.records import Family

BOX = ((1.0, 2.0), (3.5, 2.0), (3.0, 4.0), (1.0, 4.0))


def entry(name: str, *, box: bool = False) -> Entry:
    return Entry(
        NewFace(NewImage(name, "data:;base64,AAAA", "t'\n", '{"é":1e999}'), BOX if box else None, reject_bad=box)
    )


async def written(folder: Path, *entries: Entry) -> JobFolder:
    async def each() -> AsyncIterator[Entry]:
        for one in entries:
            yield one

    return await written_down(folder, each(), family=Family.FACE, group="crew", created="2026-01-01T00:00:00+00:00")


def opened(folder: Path) -> JobFolder:
    [own] = folder.iterdir()
    job = JobFolder.opened(own)
    assert job is not None
    return job


def error(index: int) -> JobError:
    return JobError(index=index, id=f"i{index}", code="no_face", message="No face.")


async def test_images_come_back_as_they_were_and_wrong_lines_with_their_fault(tmp_path: Path) -> None:
    wrong = Entry(None, "c", "invalid_json", "It is none.")
    job = await written(tmp_path, entry("a"), entry("b", box=True), wrong)
    assert (job.facts.total, job.facts.group, job.resumed) == (3, "crew", False)
    assert list(job.images()) == [(0, entry("a")), (1, entry("b", box=True)), (2, wrong)]
    job.close()
    again = opened(tmp_path)
    assert (again.facts, again.resumed, again.state) == (job.facts, True, JobState.WAITING)
    assert list(again.images()) == list(job.images())
    again.close()


async def test_an_image_without_an_id_gets_one_that_stays_the_same_and_is_no_other_images(tmp_path: Path) -> None:
    jobs = [await written(tmp_path / name, entry(""), entry(""), entry("x")) for name in "ab"]
    ids = [each.new.image.id for job in jobs for _, each in job.images() if each.new is not None]
    assert len(set(ids)) == 5
    assert all(len(name) == 22 for name in ids if name != "x")
    for job in jobs:
        job.close()
    again = opened(tmp_path / "a")
    assert [each.new.image.id for _, each in again.images() if each.new is not None] == ids[:3]
    again.close()


async def test_what_is_dealt_with_is_not_given_again_whatever_the_moment_of_a_kill(tmp_path: Path) -> None:
    job = await written(tmp_path, *(entry(name) for name in "abcd"))
    job.note(2)
    job.note(0, error(0))
    job.note(3)
    assert (job.done, job.failed, job.errors) == (2, 1, [error(0)])
    job.close()
    journal = next(tmp_path.iterdir()) / "journal.jsonl"
    whole = journal.read_bytes()
    for cut in range(len(whole) + 1):
        journal.write_bytes(whole[:cut])
        again = opened(tmp_path)
        lines = whole[:cut].count(b"\n")
        assert [index for index, _ in again.images()] == sorted(
            {0, 1, 2, 3} - {2, 0, 3} - set() | set([2, 0, 3][lines:])
        )
        assert (again.done + again.failed, again.failed) == (lines, int(lines >= 2))
        again.note(1)
        again.close()
        last = opened(tmp_path)
        assert last.done + last.failed == lines + 1
        last.close()


@pytest.mark.parametrize("state", [JobState.DONE, JobState.CANCELLED, JobState.FAILED])
async def test_an_end_is_remembered_and_the_images_are_forgotten(tmp_path: Path, state: JobState) -> None:
    job = await written(tmp_path, entry("a"), entry("b"))
    job.note(1, error(1))
    job.end(state, "Why.")
    again = opened(tmp_path)
    assert (again.state, again.error, again.done, again.failed) == (state, "Why.", 0, 1)
    assert not (next(tmp_path.iterdir()) / "images.jsonl").exists()
    again.remove()
    assert list(tmp_path.iterdir()) == []


async def test_only_the_first_errors_are_kept(tmp_path: Path) -> None:
    job = await written(tmp_path, *(entry(f"i{number}") for number in range(MOST_ERRORS + 5)))
    for number in range(MOST_ERRORS + 5):
        job.note(number, error(number))
    assert job.failed == MOST_ERRORS + 5
    job.close()
    again = opened(tmp_path)
    assert job.errors == again.errors == [error(number) for number in range(MOST_ERRORS)]
    again.close()


async def test_an_import_has_one_owner_and_others_can_look_at_it_and_ask_for_its_end(tmp_path: Path) -> None:
    job = await written(tmp_path, entry("a"), entry("b"))
    [own] = folders(tmp_path)
    assert JobFolder.opened(own) is None
    looking = JobFolder.seen(own)
    assert looking is not None
    assert (looking.facts, looking.state, looking.rate) == (job.facts, JobState.WAITING, 0.0)
    job.begin()
    job.note(0)
    job.note(1, error(1))
    looking = JobFolder.seen(own)
    assert looking is not None
    assert (looking.state, looking.done, looking.failed, looking.errors) == (JobState.RUNNING, 1, 1, [error(1)])
    assert looking.rate > 0
    before = job.is_to_be_cancelled
    looking.ask_to_cancel()
    assert (before, job.is_to_be_cancelled) == (False, True)
    job.end(JobState.CANCELLED)
    looking = JobFolder.seen(own)
    assert looking is not None
    assert looking.state is JobState.CANCELLED
    looking.remove()
    assert not job.is_kept
    assert JobFolder.seen(own) is None


async def test_what_its_owner_left_can_be_taken_and_waits_again(tmp_path: Path) -> None:
    job = await written(tmp_path, entry("a"), entry("b"))
    job.begin()
    job.note(0)
    job.close()
    again = opened(tmp_path)
    assert (again.state, again.resumed, again.rate) == (JobState.WAITING, True, 0.0)
    assert [index for index, _ in again.images()] == [1]
    again.close()


@pytest.mark.parametrize("text", ["", "..", "a" * 21, "a" * 23, "../" + "a" * 19, "a" * 21 + "\n", "é" * 22])
def test_only_what_looks_like_an_id_names_a_folder(text: str) -> None:
    assert not is_id(text)
    assert is_id("q83vEjRWeJCrze8SNFZ4kA")


async def test_what_was_not_finished_is_not_taken_for_an_import(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[Entry]:
        yield entry("a")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await written_down(tmp_path, broken(), family=Family.FACE, group="crew", created="")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "images.jsonl").write_text("{")
    (tmp_path / ".new-whole").mkdir()
    (tmp_path / ".new-whole" / "job.json").write_text("{}")
    assert JobFolder.opened(tmp_path / "half") is None
    assert folders(tmp_path) == []
    clean(tmp_path)
    assert list(tmp_path.iterdir()) == []
