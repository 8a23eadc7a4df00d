"""A clock on the wall that can jump, for one service alone."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SOURCE = Path(__file__).with_name("clock.c")
_OFFSET = struct.Struct("d")


class Clock:
    """Built from a few lines of C and loaded before libc by what is started inside ``inherited``.

    Args:
        folder: for the library and the file that tells it how far the clock is off.
    """

    def __init__(self, folder: Path) -> None:
        self._library = folder / "clock.so"
        self._offset = folder / "clock"
        self._offset.write_bytes(_OFFSET.pack(0.0))
        compiler = shutil.which("cc")
        self.is_built = compiler is not None
        if compiler is not None:
            options = ["-shared", "-fPIC", "-O1", "-o", str(self._library), str(_SOURCE), "-ldl", "-lm"]
            subprocess.run([compiler, *options], check=True)

    @contextmanager
    def inherited(self) -> Iterator[None]:
        """Inside the block it is part of the environment."""
        if not self.is_built:
            yield
            return
        os.environ |= {"LD_PRELOAD": str(self._library), "CHAOS_CLOCK": str(self._offset)}
        try:
            yield
        finally:
            del os.environ["LD_PRELOAD"], os.environ["CHAOS_CLOCK"]

    def jump(self, seconds: float) -> None:
        """Puts the clock so far off from the machine's."""
        with self._offset.open("r+b") as file:  # in place: it is mapped
            file.write(_OFFSET.pack(seconds))
