"""`likeness calibrate` asks a service, writes what it answers, and says what is wrong in a sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from app.api.calibration_example import CALIBRATION
from app.cli import main
from app.commands.calibrate import service_url
from app.config import Settings
from tests.running_service import free_port


@dataclass
class Service:
    """Answers what it is told to, and remembers what it was asked."""

    status: int = 200
    answer: bytes = json.dumps({**CALIBRATION, "plot": "<svg>é</svg>"}).encode()
    asked: list[tuple[str, Any]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def service() -> Iterator[Service]:
    told = Service()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.asked.append((self.path, json.loads(body)))
            self.send_response(told.status)
            self.end_headers()
            self.wfile.write(told.answer)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
        told.url = f"http://127.0.0.1:{server.server_address[1]}"
        yield told
        server.shutdown()


def test_the_answer_is_printed_and_the_plot_written(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    plot = tmp_path / "crew.svg"
    options = ["--pattern", "{identity}-*", "--fmr", "0.01", "--fmr", "0.001", "--plot", str(plot), "--family", "image"]
    assert main(["calibrate", "crew", "--url", f"{service.url}/", *options]) == 0
    assert service.asked == [
        (
            "/v1/image/groups/crew/calibrate",
            {"identity": "id", "pattern": "{identity}-*", "fmr": [0.01, 0.001], "plot": True},
        )
    ]
    assert plot.read_text(encoding="utf-8") == "<svg>é</svg>"
    out = capsys.readouterr().out
    assert out.startswith("Group crew, model dlib-resnet-v1")
    assert out.endswith(f"The plot is in {plot}.\n")


def test_faces_and_tags_are_asked_for_when_nothing_is_said(service: Service) -> None:
    assert main(["calibrate", "crew", "--url", service.url]) == 0
    assert service.asked == [("/v1/face/groups/crew/calibrate", {"identity": "tag", "fmr": [], "plot": False})]


def failed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["calibrate", *arguments]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    return err.removeprefix("likeness: ").rstrip()


def test_an_error_of_the_service_is_its_sentence(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    service.status = 404
    service.answer = b'{"error":"There is no group.","code":"group_not_found","request_id":"1"}'
    assert failed(capsys, "../x?y", "--url", service.url) == "There is no group."
    assert service.asked[0][0] == "/v1/face/groups/..%2Fx%3Fy/calibrate"


@pytest.mark.parametrize(("status", "answer"), [(200, b"{}"), (200, b"<html>"), (502, b"Bad gateway"), (500, b"{}")])
def test_what_is_no_likeness_is_told_from_it(
    service: Service, capsys: pytest.CaptureFixture[str], status: int, answer: bytes
) -> None:
    service.status, service.answer = status, answer
    assert "is not this version of Likeness" in failed(capsys, "crew", "--url", service.url)


def test_a_service_that_is_not_there_and_an_address_that_is_none_are_sentences(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    assert failed(capsys, "crew", "--url", nobody).startswith(f"No service answers at {nobody}")
    for wrong in ("nonsense", "http://[", "ftp://x"):
        assert failed(capsys, "crew", "--url", wrong).startswith(f"{wrong!r} is no address of a service")


def test_a_plot_that_cannot_be_written_is_a_sentence(
    service: Service, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", "crew", "--url", service.url, "--plot", str(tmp_path / "no" / "crew.svg")]) == 1
    assert "cannot be written to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:8000"),
        ("0.0.0.0", "http://127.0.0.1:8000"),
        ("::", "http://[::1]:8000"),
        ("fe80::1", "http://[fe80::1]:8000"),
        ("likeness.internal", "http://likeness.internal:8000"),
    ],
)
def test_the_settings_say_where_the_service_is(host: str, url: str) -> None:
    assert service_url(replace(Settings(), host=host)) == url


@pytest.mark.parametrize("rate", ["nan", "0", "1", "2", "-1", "x"])
def test_what_is_no_rate_is_told_before_the_service_is_asked(rate: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["calibrate", "crew", "--fmr", rate])
    assert "--fmr" in capsys.readouterr().err


def test_a_pattern_for_tags_is_told_to_be_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "crew", "--identity", "tag", "--pattern", "{identity}-*"]) == 1
    assert "leave out --identity tag" in capsys.readouterr().err
