"""When each key was last used, written down lazily."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from pathlib import Path

USES_FOLDER = "key-uses"  # in the data folder
# Seconds within which further uses are not written down.
_LAZY_S = 60.0

_log = logging.getLogger("likeness.keys")


class KeyUses:
    """An empty file per key, whose time of change is that of the last use.

    So several processes need no lock, and the file of the keys itself may be read only.

    Args:
        folder: of these files.
        lazy_s: seconds within which further uses are not written down.
    """

    def __init__(self, folder: Path, *, lazy_s: float = _LAZY_S) -> None:
        self._folder = folder
        self._lazy_s = lazy_s
        self._noted: dict[str, float] = {}

    def note(self, id: str) -> None:  # noqa: A002
        """Says that a key was used now."""
        now = time.monotonic()
        last = self._noted.get(id)
        if last is not None and now - last < self._lazy_s:
            return
        self._noted[id] = now
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            (self._folder / id).touch(mode=0o600)
        except OSError as error:
            _log.warning("The use of the key %s cannot be written down: %s", id, error)

    def last(self, id: str) -> datetime | None:  # noqa: A002
        """When a key was last used, as far as it is known."""
        try:
            return datetime.fromtimestamp((self._folder / id).stat().st_mtime, UTC)
        except OSError:
            return None
