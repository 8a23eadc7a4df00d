"""Whether the memory of the service and its engines stays as it is over many requests.

python -m loadtest.steady_memory                       # 10,000 requests; ends with status 1 where memory grew by 5 %
python -m loadtest.steady_memory --requests 1000

Searches by face and by image, now and then a large photo, and one request in twenty that fails. Memory is what the
processes hold, read while nothing is at work: after the first tenth of the requests, and at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from loadtest.bench.bare_loop import BareProcesses
from loadtest.bench.http_load import load, request
from loadtest.bench.photos import Scene, compose
from loadtest.bench.processor_time import names_of
from tests.photos import PHOTOS
from tests.running_service import ROOT, RunningService

_MOST_GROWTH = 0.05
_PHOTOS = 12
_PARTS = 10


def main() -> None:
    """Reads the arguments, sends the requests, prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder of portraits")
    arguments = parser.parse_args()
    small, large = _composed(arguments.photos)
    with tempfile.TemporaryDirectory() as name, RunningService(Path(name) / "data") as service:
        requests = _requests(service, small, large)
        names = names_of(service.pid, service.descendants())
        kept: list[Mapping[str, float]] = []
        each = -(-arguments.requests // _PARTS)
        print("| requests | failed | " + " | ".join(memory(names)) + " | all |", flush=True)
        for part in range(_PARTS):
            seen = asyncio.run(load(service.port, requests, clients=arguments.clients, seconds=0, least=each))
            names = names_of(service.pid, service.descendants())  # an engine may have been started again
            kept.append(memory(names))
            values = " | ".join(f"{value:.0f}" for value in kept[-1].values())
            failed = sum(seen.errors.values())
            print(f"| {(part + 1) * each:,} | {failed} | {values} | {sum(kept[-1].values()):.0f} MiB |", flush=True)
    growth = sum(kept[-1].values()) / sum(kept[0].values()) - 1
    print(f"growth from a tenth of the requests to the end: {growth:+.1%} (at most {_MOST_GROWTH:.0%})")
    sys.exit(growth >= _MOST_GROWTH)


def memory(names: Mapping[int, str]) -> dict[str, float]:
    """Resident MiB of processes that they do not share with others, by name."""
    found: dict[str, float] = defaultdict(float)
    for pid, name in names.items():
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines():
                if line.startswith("Pss:"):
                    found[name] += int(line.split()[1]) / 1024
    return dict(sorted(found.items()))


def _composed(folder: Path) -> tuple[list[bytes], bytes]:
    with BareProcesses(ROOT / "model_repository", [{0}]) as bare:
        small = compose(folder, Scene("640", 1), _PHOTOS, bare.faces_in)
        return small, compose(folder, Scene("12mp", 1), 1, bare.faces_in)[0]


def _requests(service: RunningService, small: list[bytes], large: bytes) -> list[bytes]:
    for family in ("face", "image"):
        service.call("POST", f"/v1/{family}/groups/steady", {"config": {"capacity": 1000}})
        for number, file in enumerate(small):
            image = {"image": {"id": str(number), "uri": _uri(file)}}
            service.call("POST", f"/v1/{family}/groups/steady/add", image)
    requests = []
    for number in range(60):
        family = ("face", "image")[number % 2]
        file = b"no image" if number % 20 == 7 else large if number % 60 == 30 else small[number // 2 % len(small)]
        requests.append(request(f"/v1/{family}/groups/steady/search", {"images": [_uri(file)], "limit": 5}))
    return requests


def _uri(file: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(file).decode()}"


if __name__ == "__main__":
    main()
