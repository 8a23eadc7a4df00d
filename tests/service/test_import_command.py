"""`likeness import`, `export` and `restore` against the real service, killed and started again."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from app.cli import main
from tests.photos import astronaut
from tests.pictures import drawing, encoded
from tests.running_service import ROOT, RunningService, file_uri, fresh_group


@dataclass(frozen=True)
class Done:
    """A command that ended."""

    returncode: int
    stdout: str
    stderr: str


Likeness = Callable[..., Done]


@pytest.fixture
def likeness(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Likeness:
    """Runs the command in the test's folder, in this process: a process of its own takes a second to start."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str | Path) -> Done:
        capsys.readouterr()
        status = main([*map(str, arguments)])
        return Done(status, *capsys.readouterr())

    return run


def lines_of(result: Path) -> list[dict[str, Any]]:
    header, *lines = map(json.loads, result.read_text(encoding="utf-8").splitlines())
    assert header["result_of"] == "likeness import"
    return lines


def ids_in(service: RunningService, group: str) -> dict[str, str]:
    return {row["id"]: row["tag"] for row in service.call("GET", f"{group}/images").body["images"]}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    for number in range(24):
        file = folder / ("" if number % 4 == 0 else f"tag{number % 4}") / f"{number:02d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(drawing(number)))
    return folder


@pytest.fixture
def group(service: RunningService) -> Iterator[str]:
    with fresh_group(service, "image", "imported") as path:
        yield path


def test_a_folder_is_imported_and_what_fails_is_told_and_tried_again(
    likeness: Likeness, service: RunningService, tmp_path: Path, photos: Path
) -> None:
    (photos / "tag1" / "broken.jpg").write_bytes(b"no image")
    command: list[str | Path] = ["import", "made-by-import", photos, "--family", "image", "--url", service.url]
    missing = likeness(*command)
    assert (missing.returncode, missing.stderr) == (1, "likeness: There is no group 'made-by-import'.\n")
    command += ["--create", "--capacity", "100"]
    done = likeness(*command)
    assert done.returncode == 1
    assert done.stdout.startswith("made-by-import: 24 added, 1 failed, ")
    assert "1 × undecodable_image" in done.stdout
    result = tmp_path / "import-image-made-by-import-photos.jsonl"
    lines = lines_of(result)
    assert Counter(line["status"] for line in lines) == {"added": 24, "failed": 1}
    [bad] = [line for line in lines if line["status"] == "failed"]
    assert (bad["id"], bad["code"]) == ("tag1/broken.jpg", "undecodable_image")
    assert bad["message"].endswith(".")
    stored = ids_in(service, "/v1/image/groups/made-by-import")
    assert stored == {
        line["id"]: "default" if "/" not in line["id"] else line["id"][:4] for line in lines if line is not bad
    }
    (photos / "tag1" / "broken.jpg").write_bytes(encoded(drawing(99)))
    again = likeness(*command)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith("made-by-import: 1 added, 24 done before, ")
    assert likeness(*command).stdout == "made-by-import: 0 added, 25 done before.\n"
    assert service.call("POST", "/v1/image/groups/made-by-import/remove").status == 200


def test_an_import_that_was_killed_goes_on_without_a_loss_or_a_double(
    likeness: Likeness, service: RunningService, tmp_path: Path, photos: Path, group: str
) -> None:
    result = tmp_path / "result.jsonl"
    command = ["import", "imported", str(photos), "--family", "image", "--url", service.url, "--result", str(result)]
    kills = 0
    while kills < 3:
        before = len(lines_of(result)) if result.exists() else 0
        if before == 24:
            break
        importer = subprocess.Popen([sys.executable, "-m", "app", *command, "--parallel", "3"], cwd=ROOT)
        while importer.poll() is None and (not result.exists() or result.read_bytes().count(b"\n") < before + 4):
            time.sleep(0.002)
        importer.send_signal(signal.SIGKILL)
        importer.wait()
        kills += 1
    # An answer that nobody read: as if the kill had come between the write and the line in the journal.
    kept = result.read_text().splitlines(keepends=True)
    result.write_text("".join(kept[:-1]) + kept[-1][:9])
    done = likeness(*command)
    assert (done.returncode, done.stderr) == (0, "")
    lines = lines_of(result)
    assert len({line["id"] for line in lines}) == len(lines) == 24
    assert "already there" in {line["status"] for line in lines} <= {"added", "already there"}
    assert set(ids_in(service, group)) == {line["id"] for line in lines}
    assert service.call("GET", group).body["count"] == 24


def test_an_id_that_was_there_before_the_first_run_is_a_failure(
    likeness: Likeness, service: RunningService, tmp_path: Path, photos: Path, group: str
) -> None:
    image = {"id": "00.jpg", "uri": file_uri(photos / "00.jpg"), "tag": "mine"}
    assert service.call("POST", f"{group}/add", {"image": image}).status == 200
    done = likeness("import", "imported", photos, "--family", "image", "--url", service.url, "--tag", "all")
    assert done.returncode == 1
    assert "1 × id_exists" in done.stdout
    assert Counter(ids_in(service, group).values()) == {"mine": 1, "all": 23}


def test_lists_carry_descriptions_boxes_and_faces(likeness: Likeness, service: RunningService, tmp_path: Path) -> None:
    (tmp_path / "ada.jpg").write_bytes(encoded(astronaut()))
    (tmp_path / "nobody.jpg").write_bytes(encoded(drawing(1)))
    box = {"pts": [[170, 50], [280, 50], [280, 200], [170, 200]]}
    entries = [
        {"id": "found", "path": "ada.jpg", "desc": [1.0, {"é": None}]},
        {"id": "given", "path": "ada.jpg", "bounding_box": box, "tag": "boxed"},
        {"path": "nobody.jpg"},
        {"id": "out", "path": "../ada.jpg"},
        {"id": "host", "uri": "http://192.168.0.1/x.jpg"},
    ]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    (tmp_path / "list.csv").write_text('id,path,tag,desc\ncsv,ada.jpg,staff,"{""n"":1}"\n')
    with fresh_group(service, "face", "imported-faces") as path:
        command: list[str | Path] = ["import", "imported-faces", tmp_path / "list.jsonl", "--url", service.url]
        done = likeness(*command, "--reject-bad-face")
        assert done.returncode == 1
        failed = {line["id"]: line["code"] for line in lines_of(tmp_path / "import-face-imported-faces-list.jsonl")
                  if line["status"] == "failed"}  # fmt: skip
        assert failed == {"nobody.jpg": "no_face", "out": "invalid_line", "host": "blocked_address"}
        command[2] = tmp_path / "list.csv"
        assert likeness(*command, "--result", "csv.jsonl").returncode == 0
        rows = {row["id"]: row for row in service.call("GET", f"{path}/images").body["images"]}
        assert set(rows) == {"found", "given", "csv"}
        assert rows["found"]["desc"] == [1.0, {"é": None}]
        assert rows["given"]["bounding_box"] == box
        assert (rows["csv"]["tag"], rows["csv"]["desc"]) == ("staff", {"n": 1})

        for name in ("group.jsonl", "group.jsonl.gz"):
            file = tmp_path / name
            done = likeness("export", "imported-faces", file, "--url", service.url)
            assert (done.returncode, done.stdout) == (
                0, f"imported-faces: 3 images with their embeddings are in {file}.\n"
            )  # fmt: skip
            assert "is there already" in likeness("export", "imported-faces", file, "--url", service.url).stderr
        plain = (tmp_path / "group.jsonl").read_bytes()
        assert gzip.decompress((tmp_path / "group.jsonl.gz").read_bytes()) == plain
        assert not list(tmp_path.glob("*.part"))

        restore: list[str | Path] = ["restore", tmp_path / "group.jsonl.gz", "--url", service.url]
        assert "There is already a group" in likeness(*restore).stderr
        done = likeness(*restore, "--group", "imported-again")
        assert (done.returncode, done.stdout) == (0, "imported-again: 3 images with their embeddings are restored.\n")
        again = service.call("GET", "/v1/face/groups/imported-again/images").body
        assert again == service.call("GET", f"{path}/images").body
        assert service.call("POST", "/v1/face/groups/imported-again/remove").status == 200

        damaged = tmp_path / "damaged.jsonl"
        for data, word in (
            (plain[:-200], "was cut"),
            (plain.replace(b"staff", b"stuff"), "was altered"),
            (b"x", "no file of"),
        ):
            damaged.write_bytes(data)
            done = likeness("restore", damaged, "--group", "imported-again", "--url", service.url)
            assert (done.returncode, done.stdout) == (1, "")
            assert word in done.stderr
        done = likeness("restore", tmp_path / "group.jsonl", "--family", "image", "--url", service.url)
        assert "of the family face, not image" in done.stderr
        assert "imported-again" not in service.call("GET", "/v1/face/groups").body["groups"]
