"""Which processes used the processor: seconds from /proc, by name, and what others took meanwhile."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PROC = Path("/proc")
_MODELS = ("face_detector", "face_quality", "face_embedder", "image_embedder")


@dataclass(frozen=True, slots=True)
class ProcessorTime:
    """What was used up to a moment.

    Attributes:
        by_name: seconds of the watched processes.
        busy: seconds of all processors of the machine, of everybody.
    """

    by_name: Mapping[str, float]
    busy: float

    def since(self, before: ProcessorTime) -> dict[str, float]:
        """What was used between two moments, by name."""
        return {name: seconds - before.by_name.get(name, 0.0) for name, seconds in self.by_name.items()}

    def others_since(self, before: ProcessorTime) -> float:
        """Seconds that processes which are not watched used between two moments."""
        return max(0.0, self.busy - before.busy - sum(self.since(before).values()))


def processor_time(pids: Mapping[int, str]) -> ProcessorTime:
    """Looks at processes.

    Args:
        pids: their names by process id; several may share one.
    """
    by_name: dict[str, float] = defaultdict(float)
    for pid, name in pids.items():
        with contextlib.suppress(OSError):
            fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            by_name[name] += (int(fields[11]) + int(fields[12])) / _TICKS
    user, nice, system, _, _, irq, softirq, steal, *_ = map(
        int, (_PROC / "stat").read_text().partition("\n")[0].split()[1:]
    )
    return ProcessorTime(by_name, (user + nice + system + irq + softirq + steal) / _TICKS)


def names_of(service: int, descendants: Iterable[int]) -> dict[int, str]:
    """What the processes of a service are called, by process id."""
    names = {service: "service"}
    for pid in descendants:
        with contextlib.suppress(OSError):
            command = (_PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if "triton_python_backend_stub" in command:
                names[pid] = next((f"model {model}" for model in _MODELS if model in command), "Triton stub")
            elif "tritonserver" in command:
                names[pid] = "Triton server"
            elif "app.decoding" in command:
                names[pid] = "decoders"
            else:
                names[pid] = "Milvus"
    return names


def triton_url(descendants: Iterable[int]) -> str:
    """host:port of the gRPC endpoint of the Triton among some processes.

    Raises:
        LookupError: there is none.
    """
    for pid in descendants:
        with contextlib.suppress(OSError):
            for argument in (_PROC / str(pid) / "cmdline").read_bytes().decode(errors="replace").split("\0"):
                if argument.startswith("--grpc-port="):
                    return f"127.0.0.1:{argument.partition('=')[2]}"
    message = "The service runs no Triton of its own."
    raise LookupError(message)
