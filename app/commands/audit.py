"""``likeness audit``: shows what the audit log says of a key, a group or an image."""

from __future__ import annotations

import json
from collections.abc import Callable

from app.access.audit import open_audit_log
from app.config import Settings


def show_audit(settings: Settings, say: Callable[[object], None], *, key: str, group: str, image: str) -> None:
    """Says the lines that fit everything that is asked for, oldest first.

    Args:
        settings: where the log is.
        say: prints.
        key: id of a key; empty for all.
        group: name of a group; empty for all.
        image: id of an image, of which the log knows only a digest; empty for all.
    """
    log = open_audit_log(settings)
    digest = log.digest(image) if image else ""
    for line in log.lines():
        if (
            (not key or line.get("key") == key)
            and (not group or group in line.get("groups", []))
            and (not digest or digest in line.get("ids", []))
        ):
            say(json.dumps(line, ensure_ascii=False))
