"""One fault after the other under clients at work; after each, everything acknowledged is looked for."""

from __future__ import annotations

import http.client
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from loadtest.chaos.exchanges import Exchanges
from loadtest.chaos.faults import Fault
from loadtest.chaos.figures import Figures, shared_entries
from loadtest.chaos.readers import Readers
from loadtest.chaos.stack import Stack
from loadtest.comparison import Comparison
from loadtest.crash_writers import FACE, GROUPS, PHOTO, Writers, picture_uris
from tests.running_service import Reply, data_uri, wait_gone

_PAUSE_S = 0.1
_QUIET_S = (2.0, 5.0)
_RECOVERY_TIMEOUT_S = 120.0
_STOP_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Round:
    """What came of one fault.

    Attributes:
        fault: which.
        exchanges: of clients, from its beginning until everything answered again.
        recovery_s: from its end, or from a kill, until everything answered again.
        writes: acknowledged since the round before.
        lost: sentences for acknowledged writes that are gone, undone or there in half.
        wrong: sentences for answers that no order of the calls explains.
        figures: once all was quiet again.
    """

    fault: Fault
    exchanges: Exchanges
    recovery_s: float
    writes: int
    lost: list[str]
    wrong: list[str]
    figures: Figures


class NoRecovery(Exception):
    """Not everything answers again, long after a fault."""


class Rounds:
    """Clients of one stack, and the faults done to it.

    Args:
        stack: running.
        timeout_s: what a call to Triton or Milvus may take there.
        seed: decides what happens.
    """

    def __init__(self, stack: Stack, *, timeout_s: float, seed: int) -> None:
        self._stack = stack
        self._timeout_s = timeout_s
        self._seed = seed
        self._dice = random.Random(seed)
        self._exchanges = Exchanges()
        self._writers = Writers(stack.service, told=self._told, pause_s=_PAUSE_S)
        self._readers = Readers(stack.service, self._writers, self._told, pause_s=_PAUSE_S)
        self._comparison = Comparison(stack.service, self._writers)
        self._numbers = 0
        self._picture, self._photo = picture_uris()[0], data_uri(PHOTO.read_bytes())

    def _told(self, path: str, reply: Reply | None, seconds: float) -> None:
        self._exchanges.note(path, reply, seconds)

    def begin(self) -> Figures:
        """Makes the groups, lets clients work for a while, and looks at the service before any fault."""
        self._wait_until_well(time.monotonic())
        for group in (*GROUPS, "image/probe"):
            self._comparison.make(group)
        self._start_clients()
        time.sleep(4 * _QUIET_S[1])
        self._stop_clients()
        return self._settled()

    def round(self, fault: Fault) -> Round:
        """Does one fault."""
        writers = self._writers
        wrong, writes = len(writers.wrong), writers.total()
        self._start_clients()
        time.sleep(self._dice.uniform(*_QUIET_S))
        exchanges = self._exchanges = Exchanges()
        began = time.monotonic()
        fault.harm(self._stack, self._timeout_s, self._dice)
        is_kill = time.monotonic() - began < 0.5
        ended = began if is_kill else time.monotonic()
        try:
            recovery_s = self._wait_until_well(ended)
        except NoRecovery as error:
            self._stop_clients()
            raise NoRecovery(f"after {fault.name}: {error}") from None
        time.sleep(self._dice.uniform(*_QUIET_S))
        self._stop_clients()
        lost = self._comparison.differences(f"after {fault.name} {self._numbers}").all
        figures = self._settled()
        return Round(fault, exchanges, recovery_s, writers.total() - writes, lost, writers.wrong[wrong:], figures)

    def end(self) -> list[str]:
        """Stops the service as an operator does; returns a sentence for each thing that it left behind."""
        service = self._stack.service
        parts = service.descendants()
        found = []
        status = service.stop(signal.SIGTERM)
        if status:
            found.append(f"the service ended with status {status}")
        found += [f"process {pid} outlived the service" for pid in wait_gone(parts, 5)]
        found += [f"shared memory {name} was left behind" for name in shared_entries(service.data_dir)]
        if "Traceback" in service.log:
            place = service.log.index("Traceback")
            found.append(f"the log has a traceback: {service.log[max(0, place - 300) : place + 3000]}")
        return found

    # --- clients ---

    def _start_clients(self) -> None:
        self._numbers += 1
        self._writers.start(seed=self._seed * 1000 + self._numbers)
        self._readers.start(seed=self._seed * 1000 + self._numbers)

    def _stop_clients(self) -> None:
        self._writers.stop()
        self._readers.stop()

    # --- recovery ---

    def _wait_until_well(self, since: float) -> float:
        """Seconds from ``since`` until everything answered once."""
        deadline = time.monotonic() + _RECOVERY_TIMEOUT_S
        while not self._is_well():
            if time.monotonic() > deadline:
                message = f"the service does not come back:\n{self._stack.service.log[-3000:]}"
                raise NoRecovery(message)
            time.sleep(0.1)
        return time.monotonic() - since

    def _is_well(self) -> bool:
        """Whether the service says that it is ready, and a search of each family and a write are answered."""
        calls: list[tuple[str, str, object]] = [("GET", "/health/ready", None)]
        if self._numbers:
            image, face = "/v1/image/groups/probe", f"/v1/face/groups/{GROUPS[1].partition('/')[2]}"
            data = [{"uri": self._photo, "attribute": {"bounding_boxes": [FACE]}}]
            calls += [
                ("POST", f"{image}/add", {"image": {"id": "probe", "uri": self._picture}}),
                ("POST", f"{image}/search", {"images": [self._picture], "limit": 1}),
                ("POST", f"{face}/pts/search", {"data": data, "params": {"limit": 1}}),
                ("POST", f"{image}/delete", {"ids": ["probe"]}),
            ]
        with suppress(OSError, http.client.HTTPException, json.JSONDecodeError):
            for method, path, body in calls:
                reply = self._stack.service.call(method, path, body, headers={"X-Request-Timeout": "5"})
                if reply.status not in {200, 409}:  # an add before this one may have happened
                    return False
            return True
        return False

    def _settled(self) -> Figures:
        """Once what ends a little later has ended."""
        figures = Figures.of(self._stack.service)
        for _ in range(20):
            time.sleep(0.25)
            before, figures = figures, Figures.of(self._stack.service)
            if before.descriptors == figures.descriptors and before.processes == figures.processes:
                break
        return figures


def told(rounds: Sequence[Round]) -> None:
    """One line for each round as it ends, on stderr."""
    last = rounds[-1]
    statuses = ", ".join(f"{status}: {times}" for status, times in sorted(last.exchanges.statuses.items()))
    print(
        f"{len(rounds):>3} {last.fault.name:<17} well after {last.recovery_s:5.1f} s, longest answer "
        f"{last.exchanges.longest_s:5.1f} s, {last.writes} writes, {{{statuses}}}, {last.figures}",
        file=sys.stderr,
        flush=True,
    )
    for sentence, times in Counter([*last.lost, *last.wrong, *last.exchanges.unexpected]).items():
        print(f"    {sentence} ({times} times)", file=sys.stderr, flush=True)
