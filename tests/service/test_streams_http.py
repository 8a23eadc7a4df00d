"""Streamed answers over HTTP: whole or visibly broken, stopped when nobody reads them."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.running_service import ROOT, free_port
from tests.streaming_service import MANY


@dataclass(frozen=True, slots=True)
class Streams:
    """The running service of streams."""

    port: int
    output: Path

    @contextlib.contextmanager
    def asked(self, path: str) -> Iterator[http.client.HTTPResponse]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request("GET", path)
            with connection.getresponse() as response:
                yield response

    def ended(self) -> int:
        with self.asked("/ended") as response:
            return int(json.load(response)["ended"])


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Streams]:
    running = Streams(free_port(), tmp_path_factory.mktemp("streams") / "output")
    with running.output.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.streaming_service", str(running.port)], cwd=ROOT, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(OSError):
                running.ended()
                break
            time.sleep(0.05)
        yield running
    finally:
        process.terminate()
        process.wait(30)


def test_a_stream_is_one_json_object_and_may_take_longer_than_a_request_may_wait(streams: Streams) -> None:
    with streams.asked("/whole") as response:
        assert (response.status, response.headers["Content-Type"]) == (200, "application/json")
        assert response.headers["X-Request-ID"]
        body = json.load(response)
    assert set(body) == {"entries"}
    assert [len(entry["text"]) for entry in body["entries"]] == [5] + [1000] * MANY


@pytest.mark.parametrize(
    ("path", "status", "code"), [("/failing", 503, "backend_unavailable"), ("/late", 504, "deadline_exceeded")]
)
def test_what_goes_wrong_before_the_first_piece_is_an_error_as_any(
    streams: Streams, path: str, status: int, code: str
) -> None:
    with streams.asked(path) as response:
        assert response.status == status
        assert json.load(response)["code"] == code


def test_what_goes_wrong_later_breaks_the_connection(streams: Streams) -> None:
    with streams.asked("/breaking") as response, pytest.raises((http.client.IncompleteRead, ConnectionError)):
        response.read()
    output = streams.output.read_text()
    assert output.count("The answer broke off: It failed.") == 1
    assert "previous response" not in output


def test_a_client_that_hangs_up_stops_the_work(streams: Streams) -> None:
    before = streams.ended()
    with streams.asked("/endless") as response:
        assert response.read(20) == b'{"entries":[{"text":'
        assert streams.ended() == before
    deadline = time.monotonic() + 30
    while streams.ended() == before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert streams.ended() == before + 1


def test_the_log_tells_how_an_answer_in_pieces_ended(streams: Streams) -> None:
    told = [line.split(" ") for line in streams.output.read_text().splitlines() if "likeness.access" in line]
    ends = {(line[1], line[2]) for line in told}
    assert {("/whole", "200"), ("/failing", "503"), ("/late", "504"), ("/breaking", "500"), ("/endless", "499")} <= ends
