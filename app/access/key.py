"""One API key: what it may do, where, until when, and how its secret is told from others."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Final

import msgspec

from app.errors import OperatorError

EVERY_GROUP: Final = "*/*"

_PREFIX = "lk"
_SECRET_BYTES = 32
_TEXT = re.compile(rf"{_PREFIX}_([0-9a-f]{{10}})_([A-Za-z0-9_-]{{43}})")
_PATTERN = re.compile(r"(\*|image|face)/[a-z0-9_*?\[\]!-]{1,64}")
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,64}")


class KeyRole(StrEnum):
    """What a key may do; each role includes the ones before it."""

    READ = "read"
    WRITE = "write"
    ADMIN = "admin"

    def includes(self, other: KeyRole) -> bool:
        """Whether this role may do what the other one may."""
        order = list(KeyRole)
        return order.index(self) >= order.index(other)


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key as it is kept: without its secret.

    Attributes:
        id: public; in lists, logs and the secret's own text.
        name: the operator's word for who has it.
        role: what it may do.
        groups: where: patterns of ``family/name``; one of them must match.
        hash: of the secret.
        created: when it was made.
        expires: when it stops, if ever.
        revoked: when it was stopped, if it was.
        old_hash: of the secret before the last rotation, while that may still be used.
        old_until: how long it may.
        rate: requests a second of its own; None for that of the settings.
        parallel: requests at the same time of its own; None for that of the settings.
    """

    id: str
    name: str
    role: KeyRole
    groups: tuple[str, ...]
    hash: str
    created: datetime
    expires: datetime | None = None
    revoked: datetime | None = None
    old_hash: str = ""
    old_until: datetime | None = None
    rate: float | None = None
    parallel: int | None = None

    def is_secret(self, secret: str, now: datetime) -> bool:
        """Whether a secret is this key's, in a time that tells nothing about how much of it is right."""
        hashed = _hash(secret)
        current = hmac.compare_digest(hashed, self.hash)
        old = hmac.compare_digest(hashed, self.old_hash or "-")
        return current or (old and self.old_until is not None and now < self.old_until)

    def is_usable(self, now: datetime) -> bool:
        """Whether it is neither revoked nor expired."""
        return self.revoked is None and (self.expires is None or now < self.expires)

    def sees(self, family: str, group: str) -> bool:
        """Whether it is for a group."""
        return any(fnmatchcase(f"{family}/{group}", pattern) for pattern in self.groups)

    @property
    def sees_every_group(self) -> bool:
        """Whether it is for all groups, those of tomorrow included."""
        return EVERY_GROUP in self.groups

    def rotated(self, now: datetime, grace: timedelta) -> tuple[ApiKey, str]:
        """The same key with a new secret; the old one goes on for ``grace``."""
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        old = {"old_hash": self.hash, "old_until": now + grace} if grace else {"old_hash": "", "old_until": None}
        return msgspec.structs.replace(self, hash=_hash(secret), **old), _text(self.id, secret)


def new_key(
    name: str,
    role: KeyRole,
    groups: Sequence[str],
    *,
    expires: datetime | None = None,
    rate: float | None = None,
    parallel: int | None = None,
) -> tuple[ApiKey, str]:
    """Makes a key; returns it with the text that its owner sends, which is kept nowhere.

    Raises:
        OperatorError: the name or a pattern is none.
    """
    if not _NAME.fullmatch(name):
        raise OperatorError("The name of a key has 1 to 64 printable characters: say who is going to have it.")
    patterns = tuple(EVERY_GROUP if pattern == "*" else pattern for pattern in groups)
    for pattern in patterns:
        if not _PATTERN.fullmatch(pattern):
            message = f"{pattern!r} is no pattern of groups: write family/name, such as 'face/staff-*' or 'image/*'."
            raise OperatorError(message)
    if not patterns:
        raise OperatorError("A key is for some groups: name a pattern such as 'face/staff-*', or '*' for all.")
    if (rate is not None and rate < 0) or (parallel is not None and parallel < 0):
        raise OperatorError("A limit of a key is a number over 0, or 0 for none.")
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    key = ApiKey(
        id=secrets.token_hex(5),
        name=name,
        role=role,
        groups=patterns,
        hash=_hash(secret),
        created=datetime.now(UTC).replace(microsecond=0),
        expires=expires,
        rate=rate,
        parallel=parallel,
    )
    return key, _text(key.id, secret)


def parts_of(text: str) -> tuple[str, str] | None:
    """The id and the secret in what a caller sent; None where it is no key at all."""
    found = _TEXT.fullmatch(text)
    return (found[1], found[2]) if found else None


def _text(id: str, secret: str) -> str:  # noqa: A002
    return f"{_PREFIX}_{id}_{secret}"


def _hash(secret: str) -> str:
    # One round of SHA-256 is enough: slow hashes protect passwords, which can be guessed. Nobody guesses 256 random
    # bits, and a slow hash would only let anybody keep the service busy with wrong keys.
    return hashlib.sha256(f"likeness key {secret}".encode()).hexdigest()
