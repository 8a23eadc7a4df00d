"""``likeness keys``: makes, lists, revokes and rotates the keys of callers, also while the service runs."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from app.access.audit import now, open_audit_log
from app.access.key import ApiKey, KeyRole, new_key
from app.access.key_file import KeyFile, UnreadableKeys
from app.access.key_uses import USES_FOLDER, KeyUses
from app.config import Settings
from app.errors import OperatorError

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}

Say = Callable[[object], None]


@dataclass(frozen=True, slots=True)
class KeyOrder:
    """What a new key is to be.

    Attributes:
        name: who is going to have it.
        role: what it may do.
        groups: patterns of the groups that it is for.
        expires: after how long, such as ``90d``; empty for never.
        rate: requests a second; None for the settings' limit.
        parallel: requests at the same time; None for the settings' limit.
    """

    name: str
    role: KeyRole
    groups: Sequence[str]
    expires: str = ""
    rate: float | None = None
    parallel: int | None = None


def create_key(order: KeyOrder, settings: Settings, say: Say) -> None:
    """Makes a key and says its secret, this once.

    Raises:
        OperatorError: the order does not fit, or the keys cannot be written.
    """
    expires = datetime.now(UTC).replace(microsecond=0) + span(order.expires) if order.expires else None
    key, text = new_key(order.name, order.role, order.groups, expires=expires, rate=order.rate, parallel=order.parallel)

    def add(keys: dict[str, ApiKey]) -> None:
        if any(each.name == key.name and each.revoked is None for each in keys.values()):
            raise OperatorError(f"There is a key of the name {key.name!r} already: choose another, or revoke that one.")
        keys[key.id] = key

    KeyFile(settings.keys_path).change(add)
    _record(settings, "keys.create", key)
    say(f"The key {key.id} is made for {key.name}: {key.role} in {', '.join(key.groups)}.")
    say("This is its secret; it is kept nowhere and cannot be shown again:")
    say(text)


def list_keys(settings: Settings, say: Say) -> None:
    """Says which keys there are, without their secrets.

    Raises:
        OperatorError: the keys cannot be read.
    """
    file = KeyFile(settings.keys_path)
    try:
        keys = file.read()
    except UnreadableKeys as error:
        raise OperatorError(f"The keys in {file.path} cannot be read ({error}).") from error
    if not keys:
        say(f"There are no keys in {file.path}: make one with `likeness keys create`.")
        return
    uses, moment = KeyUses(settings.data_dir / USES_FOLDER), datetime.now(UTC)
    say(f"{'id':<10}  {'role':<5}  {'state':<7}  {'created':<16}  {'expires':<16}  {'last used':<16}  name, groups")
    for key in sorted(keys.values(), key=lambda each: (each.created, each.id)):
        state = "revoked" if key.revoked else "usable" if key.is_usable(moment) else "expired"
        last = uses.last(key.id)
        times = "  ".join(_minute(each) for each in (key.created, key.expires, last))
        say(f"{key.id:<10}  {key.role:<5}  {state:<7}  {times}  {key.name}, {' '.join(key.groups)}")


def revoke_key(id: str, settings: Settings, say: Say) -> None:  # noqa: A002
    """Stops a key for good.

    Raises:
        OperatorError: there is none of this id.
    """

    def stop(keys: dict[str, ApiKey]) -> ApiKey:
        key = _found(keys, id)
        keys[id] = msgspec.structs.replace(key, revoked=key.revoked or datetime.now(UTC).replace(microsecond=0))
        return keys[id]

    key = KeyFile(settings.keys_path).change(stop)
    _record(settings, "keys.revoke", key)
    say(f"The key {key.id} of {key.name} is revoked: the service refuses it from now on.")


def rotate_key(id: str, grace: str, settings: Settings, say: Say) -> None:  # noqa: A002
    """Gives a key a new secret and says it, this once.

    Raises:
        OperatorError: there is none of this id that can be used, or the time is none.
    """
    delay = span(grace) if grace else timedelta()

    def turn(keys: dict[str, ApiKey]) -> tuple[ApiKey, str]:
        key, moment = _found(keys, id), datetime.now(UTC).replace(microsecond=0)
        if not key.is_usable(moment):
            raise OperatorError(f"The key {id} is revoked or expired: make another one.")
        keys[id], text = key.rotated(moment, delay)
        return keys[id], text

    key, text = KeyFile(settings.keys_path).change(turn)
    _record(settings, "keys.rotate", key)
    say(f"The key {key.id} of {key.name} has a new secret; the old one stops {f'in {grace}' if grace else 'now'}.")
    say("This is the new one; it is kept nowhere and cannot be shown again:")
    say(text)


def span(text: str) -> timedelta:
    """A time such as ``90d``, ``12h`` or ``30m``.

    Raises:
        OperatorError: it is none.
    """
    found = re.fullmatch(r"([1-9][0-9]{0,4})([smhdw])", text)
    if not found:
        raise OperatorError(f"{text!r} is no time: write a whole number with s, m, h, d or w, such as 90d.")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


def _found(keys: dict[str, ApiKey], id: str) -> ApiKey:  # noqa: A002
    if id not in keys:
        raise OperatorError(f"There is no key {id!r}: `likeness keys list` shows which there are.")
    return keys[id]


def _minute(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else f"{'–':<16}"


def _record(settings: Settings, operation: str, key: ApiKey) -> None:
    if settings.audit == "off":
        return
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    log = open_audit_log(settings)
    facts = {"key": key.id, "name": key.name, "role": key.role, "groups": list(key.groups)}
    log.add({"time": now(), "user": user, "operation": operation} | facts)
    log.close()
