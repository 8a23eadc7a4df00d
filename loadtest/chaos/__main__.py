"""Does faults at random to a real service with real models and engines, under clients that check every answer.

python -m loadtest.chaos                                    # 20 minutes on Milvus Lite
python -m loadtest.chaos --milvus server                    # the server of the package `milvus`, behind a slow line
python -m loadtest.chaos --faults milvus-kill,disk-full --minutes 2

Clients add, update, delete, list, count and search all the while, and make and remove groups. After each fault the tool
waits until everything answers again, lets the clients end, and compares all that is there with what they were told. It
prints a table in Markdown and ends with status 1 where a write was lost, an answer was wrong, a status was none of 200,
404, 409, 429, 503 and 504, or the service holds more of its machine than before.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from loadtest.chaos.faults import ALL, Fault
from loadtest.chaos.report import Report
from loadtest.chaos.rounds import NoRecovery, Round, Rounds, told
from loadtest.chaos.stack import Stack


def main() -> None:
    """Reads the arguments, does the faults, prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20, help="how long; every fault is done once at least")
    parser.add_argument("--seed", type=int, default=1, help="decides what is done, and when")
    parser.add_argument("--milvus", choices=["lite", "server"], default="lite")
    parser.add_argument("--faults", default="", help=f"some of these, separated by commas: {', '.join(ALL)}")
    parser.add_argument("--timeout", type=float, default=6, help="seconds that a call to Triton or Milvus may take")
    parser.add_argument("--keep-log", type=Path, help="where the service's log is copied to")
    arguments = parser.parse_args()
    chosen = [ALL[name] for name in arguments.faults.split(",")] if arguments.faults else list(ALL.values())
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        stack = Stack(Path(name), milvus=arguments.milvus, timeout_s=arguments.timeout, settings={})
        try:
            with stack:
                report = _run(stack, chosen, arguments)
        finally:
            if arguments.keep_log:
                arguments.keep_log.write_text(stack.service.log, encoding="utf-8")
    print(report.text())
    sys.exit(1 if report.failures else 0)


def _run(stack: Stack, chosen: list[Fault], arguments: argparse.Namespace) -> Report:
    possible = [fault for fault in chosen if fault.fits(stack)]
    skipped = [fault.name for fault in chosen if fault not in possible]
    rounds = Rounds(stack, timeout_s=arguments.timeout, seed=arguments.seed)
    before = rounds.begin()
    print(f"    before: {before}", file=sys.stderr, flush=True)
    done: list[Round] = []
    try:
        for fault in _order(possible, random.Random(arguments.seed), minutes=arguments.minutes):
            done.append(rounds.round(fault))
            told(done)
    except NoRecovery as error:
        return Report(done, before, [str(error)], skipped)
    return Report(done, before, rounds.end(), skipped)


def _order(faults: list[Fault], dice: random.Random, *, minutes: float) -> Iterator[Fault]:
    """All of them in a random order, again and again until the time is over."""
    until = time.monotonic() + 60 * minutes
    yield from dice.sample(faults, len(faults))
    while time.monotonic() < until:
        for fault in dice.sample(faults, len(faults)):
            if time.monotonic() < until:
                yield fault


if __name__ == "__main__":
    main()
