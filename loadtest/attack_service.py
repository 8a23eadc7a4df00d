"""Attacks a service that asks for keys, and tells what happened: ``python -m loadtest.attack_service``.

It starts a service of its own with narrow limits, so that an attack takes seconds.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from app.api.table import all_operations
from tests.pictures import drawing_uri
from tests.running_service import ROOT, RunningService

HEADER_TIMEOUT_S = 2
MOST_CONNECTIONS = 40
MOST_REQUESTS = 2


def likeness(service: RunningService, *arguments: str) -> str:
    """Runs a command on the service's data folder; the last line that it prints."""
    environment = {**os.environ, "LIKENESS_DATA_DIR": str(service.data_dir)}
    command = [sys.executable, "-m", "app", *arguments]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


class Attacks:
    """One run of all attacks."""

    def __init__(self, service: RunningService) -> None:
        self.service = service
        self.admin = {"X-API-Key": likeness(service, "keys", "create", "admin", "--role", "admin")}

    def run(self) -> bool:
        """Runs all; whether each went as it should."""
        good = True
        for name in [name for name in dir(self) if name.startswith("_try_")]:
            started = time.monotonic()
            try:
                tried, happened, is_good = getattr(self, name)()
            except Exception as error:  # the others are still worth running
                tried, happened, is_good = 0, f"{type(error).__name__}: {error}", False
            good &= is_good
            title = name.removeprefix("_try_").partition("_")[2].replace("_", " ")
            seconds = time.monotonic() - started
            print(f"| {title} | {tried} | {happened} | {'good' if is_good else 'BAD'} | {seconds:.1f} s |", flush=True)
        return good

    # --- keys ---

    def _try_a_keyless_and_wrong_keys(self) -> tuple[int, str, bool]:
        unknown = "lk_0123456789_" + "A" * 43
        own = self.admin["X-API-Key"]
        senders: list[Mapping[str, str]] = [
            {}, {"X-API-Key": unknown}, {"X-API-Key": own[:-1]}, {"X-API-Key": own.upper()},
            {"Authorization": f"Basic {own}"}, {"Authorization": own}, {"Authorization": f"Bearer {own}x"},
            {"Authorization": f"Bearer {own}", "X-API-Key": unknown}, {"X-API-Key": "' OR 1=1 --"},
            {"X-API-Key": "*" * 9000},
        ]  # fmt: skip
        statuses: Counter[int] = Counter()
        for number, operation in enumerate(all_operations()):
            if operation.role is not None:
                path = operation.path.format(name="abc", id="x", job="x")
                for headers in senders:
                    # From many addresses: wrong keys from one are soon a 429.
                    connection = http.client.HTTPConnection(
                        "127.0.0.1", self.service.port, timeout=30, source_address=(f"127.0.1.{number + 1}", 0)
                    )
                    connection.request(operation.method, path, "{" if operation.body else None, dict(headers))
                    statuses[connection.getresponse().status] += 1
                    connection.close()
        return statuses.total(), f"statuses {dict(statuses)}", set(statuses) == {401}

    def _try_b_other_groups(self) -> tuple[int, str, bool]:
        for family in ("face", "image"):
            self.service.call("POST", f"/v1/{family}/groups/hidden", {"config": {"capacity": 9}}, headers=self.admin)
        self.service.call("POST", "/v1/face/groups/mine", {"config": {"capacity": 9}}, headers=self.admin)
        made = likeness(self.service, "keys", "create", "mine", "--role", "admin", "--group", "face/mine")
        key = {"X-API-Key": made}
        tried = different = let_in = 0
        image = drawing_uri(1)
        wishes: list[tuple[str, str, Any]] = []
        for each in all_operations():
            if "{name}" in each.path:
                path = each.path.replace("{name}", "?").replace("{id}", "x")
                wishes.append((each.method, path, each.body_example if each.body else None))
        wishes += [
            ("POST", "/v1/face/groups/multi/search", {"images": [image], "groups": ["mine", "?"]}),
            ("POST", "/v1/face/groups/multi/search", {"images": [image], "groups": ["mine"], "cluster_group": "?"}),
            ("POST", "/v1/face/groups/multi/pts/search", {"data": [{"uri": image}], "groups": ["?"]}),
            ("POST", "/v1/face/groups/mine/compare", {"target_group": "?"}),
        ]
        for method, path, body in wishes:
            told = []
            for name in ("hidden", "absent"):
                sent = None if body is None else json.loads(json.dumps(body).replace("?", name))
                reply = self.service.call(method, path.replace("?", name), sent, headers=key)
                let_in += reply.status != 403
                told.append(reply.body["error"].replace(name, "?") + reply.body["code"])
                tried += 1
            different += told[0] != told[1]
        listed = self.service.call("GET", "/v1/face/groups", headers=key).body["groups"]
        happened = f"{let_in} let in, {different} answers tell there from not there; listing shows {listed}"
        return tried, happened, not let_in and not different and listed == ["mine"]

    def _try_c_revoked_keys(self) -> tuple[int, str, bool]:
        waits = []
        for n in range(5):
            secret = likeness(self.service, "keys", "create", f"short-{n}")
            headers = {"X-API-Key": secret}
            assert self.service.call("GET", "/v1/jobs", headers=headers).status == 200
            likeness(self.service, "keys", "revoke", secret.split("_")[1])
            done = time.monotonic()
            while self.service.call("GET", "/v1/jobs", headers=headers).status != 401:
                time.sleep(0.001)
            waits.append(time.monotonic() - done)
        return 5, f"refused {max(waits) * 1000:.0f} ms after the command at the latest", max(waits) < 1

    def _try_d_wrong_keys_in_a_flood(self) -> tuple[int, str, bool]:
        with ThreadPoolExecutor(8) as pool:
            statuses = Counter(
                pool.map(lambda _: self.service.call("GET", "/v1/jobs", headers={"X-API-Key": "x"}).status, range(500))
            )
        still = self.service.call("GET", "/v1/jobs", headers=self.admin).status
        return 500, f"statuses {dict(statuses)}; a right key from the same address: {still}", still == 200

    # --- limits ---

    def _try_e_a_key_over_its_rate(self) -> tuple[int, str, bool]:
        key = {"X-API-Key": likeness(self.service, "keys", "create", "slow", "--rate", "1")}
        replies = [self.service.call("GET", "/v1/jobs", headers=key) for _ in range(60)]
        statuses = Counter(reply.status for reply in replies)
        waits = {reply.headers.get("Retry-After") for reply in replies if reply.status == 429}
        other = self.service.call("GET", "/v1/jobs", headers=self.admin).status
        good = statuses[429] > 20 and waits == {"1"} and other == 200
        return 60, f"statuses {dict(statuses)}, Retry-After {waits}; another key: {other}", good

    def _try_f_more_requests_than_permits(self) -> tuple[int, str, bool]:
        heavy = {"images": [drawing_uri(n) for n in range(8)]}
        statuses: Counter[int] = Counter()
        refused = []
        stop = threading.Event()

        def keep_busy(_: int) -> None:
            while not stop.is_set():
                self.service.call("POST", "/v1/face/detect", heavy, headers=self.admin)

        with ThreadPoolExecutor(MOST_REQUESTS + 2) as pool:
            for n in range(MOST_REQUESTS + 2):
                pool.submit(keep_busy, n)
            for _ in range(200):
                started = time.monotonic()
                status = self.service.call("POST", "/v1/face/detect", {"images": ["data:,"]}, headers=self.admin).status
                statuses[status] += 1
                if status == 429:
                    refused.append((time.monotonic() - started) * 1000)
            stop.set()
        middle, worst = (sorted(refused)[len(refused) // 2], max(refused)) if refused else (0, 0)
        happened = f"statuses {dict(statuses)}; a 429 took {middle:.0f} ms (median), {worst:.0f} ms (longest)"
        return 200, happened, bool(refused) and set(statuses) <= {200, 400, 429}

    def _try_g_a_deadline_of_the_clients(self) -> tuple[int, str, bool]:
        body = {"images": [drawing_uri(n) for n in range(32)]}
        late: list[float] = []
        statuses: Counter[int] = Counter()
        for milliseconds in (1, 5, 10, 20, 40, 80, 160, 320, 640) * 3:
            started = time.monotonic()
            limit = {**self.admin, "X-Request-Timeout": str(milliseconds / 1000)}
            status = self.service.call("POST", "/v1/face/detect", body, headers=limit).status
            statuses[status] += 1
            if status == 504:
                late.append((time.monotonic() - started) * 1000 - milliseconds)
        left = self.service.call("POST", "/v1/face/detect", {"images": [drawing_uri(1)]}, headers=self.admin).status
        happened = (
            f"statuses {dict(statuses)}; answered {max(late):.0f} ms after the deadline at most; afterwards {left}"
        )
        return 27, happened, set(statuses) <= {200, 504} and left == 200

    # --- connections ---

    def _connected(self, count: int, stack: contextlib.ExitStack) -> list[socket.socket]:
        return [
            stack.enter_context(socket.create_connection(("127.0.0.1", self.service.port), timeout=30))
            for _ in range(count)
        ]

    def _dripped(self, head: bytes, drip: bytes, *, limit_s: float) -> tuple[bytes, float]:
        """Sends a byte now and then; what is answered, or b"" where the connection is closed, and after how long."""
        with contextlib.ExitStack() as stack:
            (connection,) = self._connected(1, stack)
            connection.sendall(head)
            connection.settimeout(0.5)
            started = time.monotonic()
            while time.monotonic() - started < limit_s:
                try:
                    return connection.recv(100)[:12], time.monotonic() - started
                except TimeoutError:
                    with contextlib.suppress(OSError):
                        connection.sendall(drip)
                except OSError:
                    return b"", time.monotonic() - started
        return b"still open", limit_s

    def _until_closed(self, head: bytes, drip: bytes, *, limit_s: float, answer: bytes = b"") -> tuple[int, str, bool]:
        """Sends a byte now and then, reading no more than the answer that is awaited, until the service hangs up."""
        with contextlib.ExitStack() as stack:
            (connection,) = self._connected(1, stack)
            connection.sendall(head)
            if answer:
                assert connection.recv(9999).startswith(answer)
            started = time.monotonic()
            with contextlib.suppress(OSError):
                while time.monotonic() - started < limit_s:
                    connection.sendall(drip)
                    time.sleep(0.5)
            seconds = time.monotonic() - started
        return 1, f"closed after {seconds:.1f} s", seconds < limit_s - 1

    def _try_h_a_head_in_drips(self) -> tuple[int, str, bool]:
        answer, seconds = self._dripped(b"GET /health/live HTTP/1.1\r\nHost: x\r\nX-A: ", b"a", limit_s=30)
        return 1, f"{answer.decode()!r} after {seconds:.1f} s", answer.endswith(b"408")

    def _try_i_a_body_in_drips(self) -> tuple[int, str, bool]:
        key = self.admin["X-API-Key"]
        head = "POST /v1/face/groups/mine/import HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n"
        head += f"X-API-Key: {key}\r\n\r\n"
        answer, seconds = self._dripped(head.encode(), b" ", limit_s=60)
        return 1, f"{answer.decode()!r} after {seconds:.1f} s", answer.endswith(b"408")

    def _try_j_the_rest_of_a_refused_body_in_drips(self) -> tuple[int, str, bool]:
        head = b"POST /v1/face/detect HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n"
        return self._until_closed(head, b" ", limit_s=30, answer=b"HTTP/1.1 4")

    def _try_j2_an_answer_that_nobody_reads(self) -> tuple[int, str, bool]:
        ask = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
        return self._until_closed(ask * 8, b"G", limit_s=90)

    def _try_k_connections_that_say_nothing(self) -> tuple[int, str, bool]:
        with contextlib.ExitStack() as stack:
            silent = self._connected(MOST_CONNECTIONS, stack)
            started = time.monotonic()
            closed = 0
            for each in silent:
                with contextlib.suppress(OSError):
                    closed += each.recv(10) == b""
            seconds = time.monotonic() - started
        return MOST_CONNECTIONS, f"{closed} closed within {seconds:.1f} s", closed == MOST_CONNECTIONS

    def _try_l_more_connections_than_there_may_be(self) -> tuple[int, str, bool]:
        outcomes: Counter[str] = Counter()
        with contextlib.ExitStack() as stack:
            self._connected(MOST_CONNECTIONS, stack)
            for _ in range(300):
                try:
                    with socket.create_connection(("127.0.0.1", self.service.port), timeout=5) as connection:
                        outcomes[connection.recv(100)[9:12].decode() or "closed"] += 1
                except OSError as error:
                    outcomes[type(error).__name__] += 1
        time.sleep(0.2)
        alive = self.service.call("GET", "/health/live").status
        happened = f"{dict(outcomes)}; afterwards {alive}"
        return 300, happened, alive == 200 and set(outcomes) <= {"429", "closed", "ConnectionResetError"}

    def _try_m_nesting(self) -> tuple[int, str, bool]:
        statuses: Counter[int] = Counter()
        for depth in (100, 1_000, 100_000, 5_000_000):
            for opening, closing in ((b"[", b"]"), (b'{"a":', b"}")):
                nested = opening * depth + b"1" + closing * depth
                for body in (
                    nested,
                    b'{"images":["data:,"],"more":' + nested + b"}",
                    b'{"image":{"uri":"data:,","desc":' + nested + b"}}",
                    opening * depth,
                ):
                    path = "/v1/image/groups/hidden/add" if b"desc" in body[:99] else "/v1/face/detect"
                    statuses[self.service.call("POST", path, raw=body, headers=self.admin).status] += 1
        alive = self.service.call("GET", "/health/live").status
        return 32, f"statuses {dict(statuses)}; afterwards {alive}", set(statuses) <= {400, 413, 415}

    def _try_n_heads_that_are_too_large(self) -> tuple[int, str, bool]:
        statuses: Counter[str] = Counter()
        for head in (b"X-A: " + b"a" * 20_000, b"a:b\r\n" * 4_000, b"X-A: " + b"a" * 2_000_000):
            with contextlib.ExitStack() as stack:
                (connection,) = self._connected(1, stack)
                with contextlib.suppress(OSError):
                    connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
                try:
                    statuses[connection.recv(100)[9:12].decode()] += 1
                except OSError as error:
                    statuses[type(error).__name__] += 1
        return 3, f"{dict(statuses)}", set(statuses) <= {"413", "ConnectionResetError"}

    # --- browsers ---

    def _try_o_foreign_pages(self) -> tuple[int, str, bool]:
        statuses: Counter[int] = Counter()
        for headers in (
            {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"}, {"Origin": f"http://localhost:{self.service.port}"},
            {"Origin": f"http://127.0.0.1:{self.service.port}.evil.example"},
        ):  # fmt: skip
            reply = self.service.call("POST", "/v1/face/groups/mine/remove", {}, headers={**self.admin, **headers})
            statuses[reply.status] += 1
        return 6, f"statuses {dict(statuses)}", set(statuses) == {403}

    def _try_p_the_audit_log_of_all_this(self) -> tuple[int, str, bool]:
        path = self.service.data_dir / "audit.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        secret = self.admin["X-API-Key"].split("_", 2)[2]
        leaks = sum(text in path.read_text() + self.service.log for text in (secret, "base64,"))
        return len(lines), f"lines, all whole; secrets or images in it or in the log: {leaks}", not leaks


@contextlib.contextmanager
def attacked() -> Iterator[RunningService]:
    """A service with narrow limits."""
    with tempfile.TemporaryDirectory(prefix="likeness-attacks-") as folder:
        service = RunningService(
            Path(folder) / "data",
            keys="required",
            header_timeout=str(HEADER_TIMEOUT_S),
            max_connections=str(MOST_CONNECTIONS),
            max_requests=str(MOST_REQUESTS),
        )
        likeness(service, "keys", "create", "first")
        with service:
            yield service
            if "Traceback" in service.log:
                print("\nThe log has a traceback:", service.log[service.log.index("Traceback") - 300 :][:3000])


def main() -> int:
    """Runs all attacks; 0 where each went as it should."""
    print("| attack | tried | what happened | | took |\n| --- | --- | --- | --- | --- |", flush=True)
    with attacked() as service:
        return 0 if Attacks(service).run() else 1


if __name__ == "__main__":
    sys.exit(main())
