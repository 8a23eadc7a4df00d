"""Who can reach the service, and whether they need a key for it."""

from __future__ import annotations

import ipaddress
import logging
from datetime import UTC, datetime

from app.access.key_file import KeyFile, UnreadableKeys
from app.config import Settings
from app.errors import OperatorError

_log = logging.getLogger("likeness")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def keys_are_asked_for(settings: Settings) -> bool:
    """Whether callers need a key."""
    return settings.keys == "required" or (settings.keys == "auto" and not is_loopback(settings.host))


def refuse_unsafe_start(settings: Settings) -> None:
    """Looks at what a start would let in.

    Raises:
        OperatorError: keys are asked for and there is none, or anybody could make one.
    """
    if not keys_are_asked_for(settings):
        if not is_loopback(settings.host):
            _log.warning(
                "%s can be reached from the network and LIKENESS_KEYS is off: whoever reaches it may do everything",
                settings.host,
            )
        return
    file = KeyFile(settings.keys_path)
    try:
        keys = file.read()
    except UnreadableKeys as error:
        raise OperatorError(f"The keys in {file.path} cannot be read ({error}).") from error
    if file.is_writable_by_all:
        raise OperatorError(f"Any user of this machine can write to {file.path}, and so make keys: chmod o-w it.")
    now = datetime.now(UTC)
    if not any(key.is_usable(now) for key in keys.values()):
        reason = (
            f"LIKENESS_HOST is {settings.host}, which others on the network may reach, so callers need a key"
            if settings.keys == "auto"
            else "LIKENESS_KEYS is required"
        )
        message = (
            f"{reason}, and {file.path} has none that can be used: make one with `likeness keys create`, or set "
            "LIKENESS_KEYS=off where something in front of the service knows its clients."
        )
        raise OperatorError(message)
