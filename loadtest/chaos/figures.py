"""What a service holds of its machine: descriptors, memory, threads, processes, shared memory, files."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path

from loadtest.memory import resident_mb
from tests.running_service import RunningService

_SHARED_MEMORY = Path("/dev/shm")
# What a pool, a cache or an allocator may keep that was not there before.
_MORE_DESCRIPTORS = 8
_MORE_THREADS = 4
_MORE_MEMORY = 1.25
_MORE_MEMORY_MB = 40.0


@dataclass(frozen=True, slots=True)
class Figures:
    """At one moment, while nothing is at work.

    Attributes:
        descriptors: open in the service's process, but for pieces of memory that its decoders share: those are kept by
            bytes for the next image, and count as memory.
        threads: of that process.
        memory_mb: resident in it.
        processes: that it started, directly or not.
        shared: entries of shared memory between Triton and its models.
        files: in its data folder, but for logs.
    """

    descriptors: int
    threads: int
    memory_mb: float
    processes: int
    shared: int
    files: int

    @classmethod
    def of(cls, service: RunningService) -> Figures:
        """Those of a running service."""
        status = Path(f"/proc/{service.pid}/status").read_text(encoding="utf-8")
        threads = next(line for line in status.splitlines() if line.startswith("Threads:"))
        return cls(
            descriptors=_descriptors(service.pid),
            threads=int(threads.split()[1]),
            memory_mb=resident_mb(service.pid),
            processes=len(service.descendants()),
            shared=len(shared_entries(service.data_dir)),
            files=len(files_in(service.data_dir)),
        )

    def leaks(self, after: Figures) -> list[str]:
        """A sentence for each thing of which there is more than there should be afterwards."""
        found = []
        for name, before, now, most in (
            ("descriptors", self.descriptors, after.descriptors, self.descriptors + _MORE_DESCRIPTORS),
            ("threads", self.threads, after.threads, self.threads + _MORE_THREADS),
            ("MiB", self.memory_mb, after.memory_mb, self.memory_mb * _MORE_MEMORY + _MORE_MEMORY_MB),
            ("processes", self.processes, after.processes, self.processes),
            ("entries of shared memory", self.shared, after.shared, self.shared),
            ("files", self.files, after.files, self.files),
        ):
            if now > most:
                found.append(f"{now:.0f} {name}, and {before:.0f} before")
        return found

    def __str__(self) -> str:
        return (
            f"{self.descriptors} fds, {self.threads} threads, {self.memory_mb:.0f} MiB, {self.processes} processes, "
            f"{self.shared} shm, {self.files} files"
        )


def _descriptors(pid: int) -> int:
    found = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            found += not str(entry.readlink()).startswith("/memfd:")
    return found


def shared_entries(data_dir: Path) -> set[str]:
    """Names of shared memory between the Triton of this data folder and its models.

    What the service shares with Triton loses its name as soon as that has mapped it, and then counts as memory.
    """
    folder = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
    return {entry.name for entry in _SHARED_MEMORY.glob(f"likeness_{folder}_*")}


def files_in(data_dir: Path) -> set[str]:
    """Everything in the data folder that lasts, but for logs and the database's own."""
    found = {path.relative_to(data_dir).as_posix() for path in data_dir.rglob("*") if path.is_file()}
    return {name for name in found if not name.startswith(("logs/", "triton-backends/", "milvus.db", "audit.jsonl"))}
