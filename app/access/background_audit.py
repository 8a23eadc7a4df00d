"""Tells the audit log what the service does while no request asks for it: sweeps, and the ends of imports."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.access.audit import now, open_audit_log
from app.config import Settings


class BackgroundAudit:
    """Records work in the background.

    Args:
        settings: whether anything is recorded, and where.
    """

    def __init__(self, settings: Settings) -> None:
        self._is_on = settings.audit != "off"
        self._log = open_audit_log(settings)

    def swept(self, family: str, group: str, rows: int) -> None:
        """Rows of a group were deleted as their time was over."""
        self._add("retention.sweep", family, group, {"counts": {"deleted": rows}})

    def import_ended(
        self, family: str, group: str, *, job: str, key: str, state: str, counts: Mapping[str, int], error: str
    ) -> None:
        """An import ended.

        Args:
            family: of the group.
            group: that it was for.
            job: its id.
            key: id of the key that began it; empty where no keys are asked for.
            state: how it ended.
            counts: images stored, images not stored, and all.
            error: why the whole import failed; else empty.
        """
        more = {"job": job, "state": state, "counts": counts, "error": error}
        self._add("import.ended", family, group, more, key=key)

    def purged(self, family: str, group: str, *, engine: str, outcome: str, counts: Mapping[str, int]) -> None:
        """An operator had the deleted rows of a group removed from the files of Milvus."""
        self._add("purge", family, group, {"engine": engine, "state": outcome, "counts": counts})

    def close(self) -> None:
        """Closes the file."""
        self._log.close()

    def _add(self, operation: str, family: str, group: str, more: Mapping[str, Any], *, key: str = "") -> None:
        if self._is_on:
            line = {"time": now(), "key": key, "operation": operation, "family": family}
            self._log.add({**line, "groups": [group] if group else [], **more})
