"""Sends a service requests made of its own OpenAPI document, and tells where answers break it.

``python -m loadtest.fuzz_api --minutes 5`` starts a service of its own. Each request has a number: ``--first`` and
``--seed`` make the same ones again.
"""

from __future__ import annotations

import argparse
import http.client
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import jsonschema

from loadtest.api_requests import GROUPS, IDS, MadeRequest, RequestMaker, pictures
from tests.running_service import ROOT, RunningService, file_uri

_TIMEOUT_S: Final = 120
# What no operation has in the document, since it is of the path itself or of the header that a request was sent with.
_OF_ANY: Final = {404: "not_found", 417: "expectation_failed"}
# The only failures that a request may bring about by itself: it named another host, or a short time.
_BROUGHT_ABOUT: Final = {"fetch_failed", "fetch_timeout", "deadline_exceeded"}
_EXAMPLES: Final = ("astronaut.jpg", "astronaut-2.jpg")
_KEPT: Final = 8


@dataclass
class Findings:
    """What requests were answered.

    Attributes:
        statuses: how often each status came, by route.
        broken: a sentence for each answer that the document does not allow.
        slowest_s: the longest that one answer took, and of which request.
    """

    statuses: dict[str, Counter[int]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    slowest_s: tuple[float, str] = (0.0, "")

    @property
    def sent(self) -> int:
        """Number of requests."""
        return sum(each.total() for each in self.statuses.values())


class ApiFuzz:
    """Sends requests to one service and judges its answers.

    Args:
        service: a running one without keys.
        seed: of the requests.
    """

    def __init__(self, service: RunningService, *, seed: int = 0) -> None:
        self._service = service
        self._document: Mapping[str, Any] = service.call("GET", "/openapi.json").body
        faces = [file_uri(ROOT / "docs" / "examples" / name) for name in _EXAMPLES]
        self.maker = RequestMaker(self._document, [*pictures(), *faces * 4], seed=seed)
        self.findings = Findings()

    def restock(self) -> None:
        """Makes the groups that are missing, with an image in each."""
        for family, uri in (("image", pictures()[0]), ("face", self.maker.uris[-1])):
            for name in GROUPS:
                path = f"/v1/{family}/groups/{name}"
                if self._service.call("POST", path, {"config": {"capacity": 100}}).status == 200:
                    self._service.call("POST", f"{path}/add", {"image": {"id": IDS[0], "uri": uri, "tag": "cats"}})

    def clear(self) -> None:
        """Removes the groups again, and ends imports."""
        for job in self._service.call("GET", "/v1/jobs").body["jobs"]:
            self._service.call("POST", f"/v1/jobs/{job['job']}/cancel")
        for family in ("image", "face"):
            for name in GROUPS:
                self._service.call("POST", f"/v1/{family}/groups/{name}/remove")

    def send(self, number: int) -> None:
        """Makes and sends the request of a number, and keeps what its answer says for later ones."""
        made = self.maker.make(number)
        started = time.monotonic()
        status, headers, body = self._exchange(made)
        took = time.monotonic() - started
        told = f"request {number} (seed {self.maker.seed}), {made.method} {made.path[:200]}"
        self.findings.statuses.setdefault(f"{made.method} {made.route}", Counter())[status] += 1
        self.findings.slowest_s = max(self.findings.slowest_s, (took, told))
        fault = self._fault(made, status, headers, body)
        if fault:
            self.findings.broken.append(f"{told}: {status}, {fault}")
        elif status in (200, 202):
            self._learn(made.route, body)

    def _exchange(self, made: MadeRequest) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._service.port, timeout=_TIMEOUT_S)
        try:
            connection.request(made.method, made.path, made.body, dict(made.headers))
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        except (OSError, http.client.HTTPException) as error:
            return 0, {}, repr(error).encode()
        finally:
            connection.close()

    def _fault(self, made: MadeRequest, status: int, headers: Mapping[str, str], body: bytes) -> str:
        """What is wrong with an answer; empty where nothing is."""
        if status == 0:
            return f"no answer: {body.decode()}"
        responses = self._document["paths"][made.route][made.method.lower()]["responses"]
        kind = headers.get("Content-Type", headers.get("content-type", "")).partition(";")[0]
        if status >= 400:
            return self._error_fault(responses, status, kind, body)
        if str(status) not in responses:
            return f"a status that is not documented: {body[:300]!r}"
        content = responses[str(status)]["content"]
        if kind not in content and not kind.startswith(("text/plain", "application/openmetrics-text")):
            return f"the content type {kind!r} is not documented"
        if kind != "application/json":
            return ""
        return self._schema_fault(content[kind]["schema"], body)

    def _error_fault(self, responses: Mapping[str, Any], status: int, kind: str, body: bytes) -> str:
        if kind != "application/json":
            return f"an error of the content type {kind!r}"
        fault = self._schema_fault({"$ref": "#/components/schemas/Error"}, body)
        if fault:
            return fault
        code = json.loads(body)["code"]
        if str(status) not in responses and _OF_ANY.get(status) != code:
            return f"a status that is not documented: {body[:300]!r}"
        if _OF_ANY.get(status) != code and f"`{code}`" not in responses[str(status)]["description"]:
            return f"the code {code} is not documented for this status"
        if status >= 500 and code not in _BROUGHT_ABOUT:
            return f"a failure of the service's own: {body[:300]!r}"
        return ""

    def _schema_fault(self, schema: Mapping[str, Any], body: bytes) -> str:
        try:
            whole = {**schema, "components": self._document["components"]}
            jsonschema.Draft202012Validator(whole).validate(json.loads(body))
        except ValueError:
            return f"no JSON: {body[:300]!r}"
        except jsonschema.ValidationError as error:
            return f"the answer breaks its schema at {error.json_path}: {error.message[:300]}"
        return ""

    def _learn(self, route: str, body: bytes) -> None:
        if route.endswith("}/export"):
            self.maker.files[_KEPT:] = [body]
        elif route.endswith("/import"):
            self.maker.jobs[_KEPT:] = [json.loads(body)["job"]]
        elif route.endswith(("/images", "/tags")) and json.loads(body)["marker"]:
            self.maker.markers[_KEPT:] = [json.loads(body)["marker"]]


def main() -> int:
    """Sends requests for a while; 0 where no answer broke the document."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="how long (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other requests (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first request (default: %(default)s)")
    parser.add_argument("--count", type=int, help="number of requests at most")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="likeness-fuzz-") as folder,
        RunningService(Path(folder) / "data", fetch_timeout="1", log_level="warning") as service,
    ):
        fuzz = ApiFuzz(service, seed=arguments.seed)
        until, number = time.monotonic() + arguments.minutes * 60, arguments.first
        while time.monotonic() < until and arguments.count != number - arguments.first:
            if (number - arguments.first) % len(fuzz.maker.operations) == 0:
                fuzz.restock()
            fuzz.send(number)
            number += 1
        alive = service.call("GET", "/health/ready").status == 200
        log = service.log
    for route, statuses in sorted(fuzz.findings.statuses.items()):
        print(f"| {route} | {', '.join(f'{count} × {status}' for status, count in sorted(statuses.items()))} |")
    seconds, slowest = fuzz.findings.slowest_s
    print(f"\n{fuzz.findings.sent} requests; the slowest took {seconds:.1f} s: {slowest}")
    for sentence in fuzz.findings.broken:
        print("BROKEN", sentence)
    if "Traceback" in log:
        print("\nThe log has a traceback:", log[max(0, log.index("Traceback") - 500) :][:4000])
    print("The service is", "ready." if alive else "NOT ready any more.")
    return 1 if fuzz.findings.broken or "Traceback" in log or not alive else 0


if __name__ == "__main__":
    sys.exit(main())
