"""The load test: its users are content with the running service, and its exit status tells when they are not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.running_service import ROOT, RunningService, free_port


def locust(url: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Users in a process of their own, as Locust needs it: each makes every call once."""
    command = ["-m", "locust", "-f", "loadtest/locustfile.py", "--headless", "--only-summary", "--once"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOCUST_")}
    return subprocess.run(
        [sys.executable, *command, "--host", url, *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_users_make_every_call_and_find_every_answer_right(service: RunningService) -> None:
    done = locust(service.url, "--users", "2", "--spawn-rate", "2", "--photos", "docs/examples")
    assert done.returncode == 0, done.stdout + done.stderr
    told = done.stdout + done.stderr
    for family in ("face", "image"):
        for call in ("add", "update", "delete", "search", "search (tag)", "images", "images/<id>", "tags"):
            assert f"/v1/{family}/groups/<name>/{call} " in told
    assert "/v1/face/groups/<name>/cluster " in told
    assert "/v1/face/verify " in told
    groups = [service.call("GET", f"/v1/{family}/groups").body["groups"] for family in ("face", "image")]
    assert not [name for names in groups for name in names if name.startswith("load-")]


@contextmanager
def forgetful(service: RunningService) -> Iterator[str]:
    """A service before the service that keeps the first hit of every search for itself."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self._pass_on(body)

        def do_GET(self) -> None:
            self._pass_on(None)

        def _pass_on(self, body: bytes | None) -> None:
            request = urllib.request.Request(service.url + self.path, data=body, method=self.command)
            try:
                with urllib.request.urlopen(request, timeout=60) as found:
                    status, answer = found.status, json.load(found)
            except urllib.error.HTTPError as error:
                with error:
                    status, answer = error.code, json.load(error)
            if self.path.endswith("/search"):
                answer = {"search_results": [{"results": each["results"][1:]} for each in answer["search_results"]]}
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_exit_status_tells_of_an_answer_that_is_200_but_wrong(service: RunningService) -> None:
    with forgetful(service) as url:
        done = locust(url, "ImageUser")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Wrong answer: a search did not find the photo that had been added" in done.stdout + done.stderr


def test_the_exit_status_tells_of_a_service_that_is_not_there() -> None:
    done = locust(f"http://127.0.0.1:{free_port()}", "ImageUser")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "The test cannot begin" in done.stdout
