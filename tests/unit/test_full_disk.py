"""What is written while the disk has no room: nothing, never a part, and it can be written again afterwards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from app.access.audit import AuditLog
from app.errors import OutOfResources
from app.services.face_search import NewFace
from app.services.job_folder import Entry, JobFolder, folders, written_down
from app.services.rows import NewImage
from app.store.pending import PendingRows
from app.store.records import Family
from tests.full_disk import no_room


async def entries() -> AsyncIterator[Entry]:
    for number in range(3):
        yield Entry(NewFace(NewImage(f"i{number}", "data:;base64,AAAA", "t", "{}"), None, reject_bad=False))


async def written(folder: Path) -> JobFolder:
    return await written_down(folder, entries(), family=Family.IMAGE, group="crew", created="2026-01-01T00:00:00+00:00")


def test_an_update_is_not_begun_that_cannot_be_written_down_first(tmp_path: Path) -> None:
    pending = PendingRows(tmp_path, vectors="embedding")
    row = {"id": "a", "embedding": np.zeros(4, np.float32)}
    with no_room(beyond=20), pytest.raises(OutOfResources):
        pending.hold("crew", row)
    assert list(tmp_path.iterdir()) == []
    pending.hold("crew", row)
    assert pending.collections() == {"crew"}


async def test_an_import_that_cannot_be_written_down_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with no_room(beyond=20), pytest.raises(OutOfResources):
        await written(tmp_path)
    assert list(tmp_path.iterdir()) == []


async def test_a_journal_gets_whole_lines_or_none(tmp_path: Path) -> None:
    job = await written(tmp_path)
    job.begin()
    job.note(0)
    [own] = folders(tmp_path)
    whole = (own / "journal.jsonl").read_bytes()
    with no_room(beyond=len(whole) + 5), pytest.raises(OutOfResources):
        job.note(1)
    assert (own / "journal.jsonl").read_bytes() == whole
    assert bytes(job.dealt) == b"\1\0\0"
    job.note(2)
    job.close()
    again = JobFolder.opened(own)
    assert again is not None
    assert bytes(again.dealt) == b"\1\0\1"
    again.close()


def test_a_line_of_the_audit_log_that_was_cut_spoils_no_other(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", max_bytes=10_000, older=1)
    log.add({"n": 1})
    size = log.path.stat().st_size
    with no_room(beyond=size + 3):
        log.add({"n": 2})
        log.add({"n": 3})
    log.add({"n": 4})
    log.close()
    assert [line["n"] for line in log.lines()] == [1, 4]


def test_without_room_for_its_key_the_audit_log_tells_no_ids_rather_than_nothing(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", max_bytes=10_000, older=1)
    with no_room():
        assert log.digests(["ada"]) == []
    assert list(tmp_path.iterdir()) == []
    assert log.digests(["ada"]) == [log.digest("ada")]
