"""The audit log: whole lines from several processes, begun anew by size, ids that cannot be read back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from app.access.audit import AuditLog


def test_processes_that_write_at_once_tear_no_line_and_lose_none_while_files_change(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from app.access.audit import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]), max_bytes=20000, older=50)\n"
        "for n in range(300): log.add({'who': sys.argv[2], 'n': n, 'more': 'x' * (n % 200)})\n"
    )
    path = tmp_path / "audit.jsonl"
    running = [subprocess.Popen([sys.executable, "-c", program, path, str(n)]) for n in range(3)]
    assert [each.wait(60) for each in running] == [0, 0, 0]
    lines = list(AuditLog(path, max_bytes=20000, older=50).lines())
    assert sorted((line["who"], line["n"]) for line in lines) == sorted(
        (str(w), n) for w in range(3) for n in range(300)
    )
    assert len(list(tmp_path.glob("audit.jsonl.[0-9]*"))) > 3


def test_only_so_many_older_files_are_kept(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "audit.jsonl", max_bytes=1000, older=2)
    for n in range(100):
        log.add({"n": n, "more": "x" * 100})
    log.close()
    assert {file.name for file in tmp_path.glob("audit.jsonl*")} == {
        "audit.jsonl", "audit.jsonl.1", "audit.jsonl.2", "audit.jsonl.lock"
    }  # fmt: skip
    kept = [line["n"] for line in log.lines()]
    assert kept == list(range(kept[0], 100))
    assert all(file.stat().st_size <= 1200 for file in tmp_path.glob("audit.jsonl*"))


def test_the_digest_of_an_id_is_the_same_in_every_process_and_another_in_every_folder(tmp_path: Path) -> None:
    def log(folder: str) -> AuditLog:
        return AuditLog(tmp_path / folder / "audit.jsonl", max_bytes=1000, older=1)

    assert log("a").digest("ada@example.org") == log("a").digest("ada@example.org")
    assert log("a").digest("ada@example.org") != log("b").digest("ada@example.org")
    assert (tmp_path / "a" / "audit.key").stat().st_mode & 0o777 == 0o600


def test_a_folder_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    AuditLog(tmp_path / "file" / "audit.jsonl", max_bytes=1000, older=1).add({"n": 1})
