"""Guards an engine that goes by the clock on the wall, against that clock being set back.

Milvus Lite stamps each row with that time and shows only rows of the past: behind it, rows that were acknowledged are
not seen, and cannot be deleted, until the clock has come as far again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from app.errors import BackendUnavailable


class WallClock:
    """Knows when the last write was.

    Args:
        now: the clock on the wall, in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._written = -math.inf

    def wrote(self) -> None:
        """A write has ended."""
        self._written = max(self._written, self._now())

    def check(self) -> None:
        """Before rows are read or written.

        Raises:
            BackendUnavailable: they would not all be seen.
        """
        behind = self._written - self._now()
        if behind > 0:
            message = (
                "The clock of the service's machine was set back behind the last write, and Milvus Lite goes by it: "
                f"the groups can be used again in {math.ceil(behind)} seconds, or once the clock is right."
            )
            raise BackendUnavailable(message)
