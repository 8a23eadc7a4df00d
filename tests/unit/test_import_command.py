"""`likeness import` and a service that is busy, breaks off or has gone; options that do not go together."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from typing import Any

import pytest

from app.cli import main
from app.commands.import_images import ImportOrder, Patience, import_images
from app.config import Settings
from app.errors import OperatorError
from tests.running_service import free_port

PATIENCE = Patience(tries=4, first_s=0.001, longest_s=0.01)


@dataclass
class Service:
    """Answers each add as it is told to, in order: a status with its code, or 0 for breaking off; then 200."""

    answers: list[tuple[int, str]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    url: str = ""
    lock: Any = field(default_factory=Lock)


@pytest.fixture
def service() -> Iterator[Service]:
    told = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(200, "")

        def do_POST(self) -> None:
            with told.lock:
                told.at_once += 1
                told.most_at_once = max(told.most_at_once, told.at_once)
                status, code = told.answers.pop(0) if told.answers else (200, "")
            told.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            with told.lock:
                told.at_once -= 1
            if status:
                self.answer(status, code)

        def answer(self, status: int, code: str) -> None:
            self.send_response(status)
            self.send_header("Retry-After", "1")
            self.end_headers()
            body = {"error": f"It is {code}.", "code": code, "request_id": "1"} if code else {}
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        told.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield told
        server.shutdown()


def order(service: Service, tmp_path: Path, number: int = 1, **more: Any) -> ImportOrder:
    folder = tmp_path / "photos"
    folder.mkdir(exist_ok=True)
    for each in range(number):
        (folder / f"{each}.jpg").write_bytes(b"x" * (each + 1))
    return ImportOrder(service.url, "face", "crew", folder, tmp_path / "result.jsonl", **more)


def run(wanted: ImportOrder) -> tuple[int, list[str]]:
    said: list[str] = []
    status = import_images(wanted, Settings(max_image_bytes=5), lambda text: said.append(str(text)), patience=PATIENCE)
    return status, said


def results(wanted: ImportOrder) -> list[tuple[str, str, str]]:
    lines = [json.loads(line) for line in wanted.result.read_text().splitlines()[1:]]
    return [(line["id"], line["status"], line.get("code", "")) for line in lines]


@pytest.mark.parametrize("busy", [(429, "overloaded"), (503, "backend_unavailable"), (0, "")])
def test_a_service_that_is_busy_or_breaks_off_is_asked_again(
    service: Service, tmp_path: Path, busy: tuple[int, str]
) -> None:
    service.answers = [busy, busy]
    wanted = order(service, tmp_path)
    assert run(wanted)[0] == 0
    assert len(service.asked) == 3
    assert results(wanted) == [("0.jpg", "added", "")]


@pytest.mark.parametrize(
    ("before", "found"),
    [((0, ""), ("already there", "")), ((503, "x"), ("already there", "")), ((429, "x"), ("failed", "id_exists"))],
)
def test_an_id_that_a_lost_answer_may_have_stored_counts_as_done(
    service: Service, tmp_path: Path, before: tuple[int, str], found: tuple[str, str]
) -> None:
    service.answers = [before, (409, "id_exists")]
    wanted = order(service, tmp_path)
    run(wanted)
    assert results(wanted) == [("0.jpg", *found)]


@pytest.mark.parametrize("busy", [(429, "overloaded"), (503, "backend_unavailable"), (0, "")])
def test_a_service_that_stays_busy_or_away_ends_the_import_and_the_next_run_goes_on(
    service: Service, tmp_path: Path, busy: tuple[int, str]
) -> None:
    service.answers = [(200, ""), *[busy] * PATIENCE.tries]
    wanted = order(service, tmp_path, 3, parallel=1)
    with pytest.raises(OperatorError, match="run the same command again"):
        run(wanted)
    assert results(wanted) == [("0.jpg", "added", "")]
    status, said = run(wanted)
    assert status == 0
    assert said[0].startswith("crew: 2 added, 1 done before")


@pytest.mark.parametrize("code", ["group_not_found", "model_mismatch"])
def test_what_is_wrong_with_the_group_ends_the_import(service: Service, tmp_path: Path, code: str) -> None:
    service.answers = [(409, code)]
    wanted = order(service, tmp_path, 2, parallel=1)
    with pytest.raises(OperatorError, match=f"It is {code}."):
        run(wanted)
    assert results(wanted) == []


def test_files_that_are_too_large_or_unreadable_fail_alone(service: Service, tmp_path: Path) -> None:
    wanted = order(service, tmp_path, 6, parallel=1)
    status, said = run(wanted)
    assert status == 1
    assert results(wanted)[5] == ("5.jpg", "failed", "too_large")
    assert len(service.asked) == 5
    assert said[1:] == [
        "  1 × too_large",
        f"Which ones and why is in {wanted.result}; the same command tries them again.",
    ]


def test_no_more_images_than_asked_for_are_on_their_way_at_once(service: Service, tmp_path: Path) -> None:
    wanted = order(service, tmp_path, 5, parallel=2, reject_bad_face=True, tag="all")
    assert run(wanted)[0] == 0
    assert service.most_at_once <= 2
    assert {asked["image"]["tag"] for asked in service.asked} == {"all"}
    assert all(asked["params"] == {"reject_bad_face": True} for asked in service.asked)
    assert set(service.asked[0]["image"]) == {"id", "uri", "tag"}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--create"], "go together"),
        (["--capacity", "5"], "go together"),
        (["--parallel", "0"], "from 1 to 64"),
        (["--reject-bad-face", "--family", "image"], "is for faces"),
    ],
)
def test_options_that_do_not_fit_are_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], word: str
) -> None:
    assert main(["import", "crew", str(tmp_path), *options]) == 1
    assert word in capsys.readouterr().err


def test_a_service_that_is_not_there_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    file = tmp_path / "group.jsonl"
    for command in (["import", "crew", str(tmp_path), "--result", str(tmp_path / "r")], ["export", "crew", str(file)]):
        assert main([*command, "--url", nobody]) == 1
        assert capsys.readouterr().err.startswith(f"likeness: No service answers at {nobody}")
        assert main([*command, "--url", "nonsense"]) == 1
        assert "is no address of a service" in capsys.readouterr().err
    assert list(tmp_path.glob("group*")) == []
    assert main(["restore", str(file), "--url", nobody]) == 1
    assert "cannot be read (no such file or directory)" in capsys.readouterr().err
