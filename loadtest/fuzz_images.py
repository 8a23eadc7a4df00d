"""Decodes thousands of broken image files, and tells by format what became of them.

``python -m loadtest.fuzz_images --files 20000``. The files are decoded in a process of its own, so that one that ends
it is counted, kept and named; each has a number, and is the same the next time.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from app.errors import TooLarge, UndecodableImage
from app.vision.decode import decode, read_header
from loadtest.broken_images import FORMATS, broken_file, sound_files
from tests.running_service import ROOT

_PIXELS: Final = 4_000_000
_HUNG_S: Final = 60.0  # of one file, on a busy machine
_SPARE: Final = 16 << 20  # bytes that the allocator and the interpreter may take beside what a header foretells
_GOOD: Final = ("decoded", "damaged", "too large")


@dataclass
class FormatTally:
    """What became of the files of one format.

    Attributes:
        outcomes: how often each.
        slowest_s: the longest that one took, and its number.
        largest: the most bytes that one took, and its number.
    """

    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: tuple[float, int] = (0.0, -1)
    largest: tuple[int, int] = (0, -1)


class ImageFuzz:
    """Has files decoded in child processes.

    Args:
        seed: of the files.
        kept: folder for those that fail; made where something is kept.
    """

    def __init__(self, *, seed: int, kept: Path) -> None:
        self._seed = seed
        self._kept = kept
        self.tallies = {kind: FormatTally() for kind in FORMATS}
        self.failures: list[str] = []

    def run(self, first: int, count: int) -> None:
        """Decodes the files of some numbers, with another child after each one that dies."""
        end = first + count
        while first < end:
            first = self._run_child(first, end)

    def _run_child(self, first: int, end: int) -> int:
        """Runs one child until it is done or dead; the number to go on with."""
        command = [sys.executable, "-m", "loadtest.fuzz_images", "--child", *map(str, (self._seed, first, end))]
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=errors) as child,
        ):
            assert child.stdout is not None
            number = first
            while number < end:
                ready, _, _ = select.select([child.stdout], [], [], _HUNG_S)
                line = child.stdout.readline() if ready else b""
                if not line.endswith(b"\n"):
                    break
                self._note(number, json.loads(line))
                number += 1
            else:
                return end
            if not ready:
                child.kill()
            child.wait()
            errors.seek(0)
            error = errors.read()
        outcome = f"ended the process with status {child.returncode}" if ready else f"took over {_HUNG_S:g} s"
        told = " ".join(error.decode(errors="replace").split())[-300:]
        self._note(number, {"outcome": outcome, "told": told, "seconds": 0.0, "bytes": 0})
        return number + 1

    def _note(self, number: int, result: dict[str, Any]) -> None:
        tally = self.tallies[FORMATS[number % len(FORMATS)]]
        outcome = result["outcome"]
        tally.outcomes[outcome if outcome in _GOOD else "failed"] += 1
        tally.slowest_s = max(tally.slowest_s, (result["seconds"], number))
        tally.largest = max(tally.largest, (result["bytes"], number))
        if outcome not in _GOOD:
            kind, data = broken_file(number, self._seed)
            self._kept.mkdir(parents=True, exist_ok=True)
            path = self._kept / f"{self._seed}-{number}.{kind.lower()}"
            path.write_bytes(data)
            self.failures.append(f"{path}: {outcome} {result.get('told', '')}")


def _child(seed: int, first: int, end: int) -> None:
    for files in sound_files().values():  # what is loaded once is nobody's memory
        for data in files:
            decode(data, max_pixels=_PIXELS)
    for number in range(first, end):
        _, data = broken_file(number, seed)
        Path("/proc/self/clear_refs").write_text("5")
        before, started = _kilobytes("VmRSS"), time.monotonic()
        result = _outcome(data)
        result["seconds"] = time.monotonic() - started
        result["bytes"] = (_kilobytes("VmHWM") - before) * 1024
        if result["outcome"] in _GOOD and result["bytes"] > result["foretold"] + _SPARE:
            result["outcome"] = "took more memory than its header foretells"
        os.write(1, json.dumps(result).encode() + b"\n")


def _outcome(data: bytes) -> dict[str, Any]:
    result: dict[str, Any] = {"outcome": "decoded", "foretold": 2 * len(data)}
    try:
        header = read_header(data, max_pixels=_PIXELS)
        result["foretold"] = header.decoded_bytes
        height, width, _ = decode(data, max_pixels=_PIXELS).shape
        if (height, width) != (header.height, header.width):
            result["outcome"] = "has another size than its header told"
    except UndecodableImage:
        result["outcome"] = "damaged"
    except TooLarge:
        result["outcome"] = "too large"
    except BaseException as error:
        result |= {"outcome": f"raised {type(error).__name__}", "told": str(error)[:300]}
    return result


def _kilobytes(name: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0])


def main() -> int:
    """Decodes files; 0 where none failed."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=20_000, help="how many (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="another one makes other files (default: %(default)s)")
    parser.add_argument("--keep", type=Path, default=Path("build/broken-images"), help="folder for files that fail")
    parser.add_argument("--child", type=int, nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        _child(*arguments.child)
        return 0
    fuzz = ImageFuzz(seed=arguments.seed, kept=arguments.keep)
    fuzz.run(arguments.first, arguments.files)
    print("| format | files | decoded | damaged | too large | failed | longest | most memory |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind, tally in fuzz.tallies.items():
        counts = " | ".join(str(tally.outcomes[outcome]) for outcome in (*_GOOD, "failed"))
        (seconds, slowest), (most, largest) = tally.slowest_s, tally.largest
        print(
            f"| {kind} | {tally.outcomes.total()} | {counts} | {seconds * 1000:.0f} ms (file {slowest}) "
            f"| {most / 2**20:.0f} MiB (file {largest}) |"
        )
    for failure in fuzz.failures:
        print("FAILED", failure)
    return 1 if fuzz.failures else 0


if __name__ == "__main__":
    sys.exit(main())
