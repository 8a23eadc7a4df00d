"""Chooses what keeps the service processes apart that use one Milvus."""

from __future__ import annotations

from pathlib import Path

from app.errors import OperatorError
from app.store.lock_folder import LockFolder, automatic_folder
from app.store.redis_turns import RedisTurns
from app.store.turns import Turns


def require_place(place: str) -> None:
    """Makes sure, before anything is served, that turns can be kept at a place.

    Raises:
        OperatorError: they cannot; the sentence says what to do.
    """
    turns_at(place, "started")


def turns_at(place: str, domain: str) -> Turns:
    """Turns kept at a place.

    Args:
        place: a folder, the URL of a Redis, or empty for a folder that all processes of this user find by themselves.
        domain: what they share: letters, digits and ``-``.

    Raises:
        OperatorError: the place cannot be used.
    """
    if place.startswith(("redis://", "rediss://")):
        return RedisTurns(place, domain)
    if "://" in place:
        message = "LIKENESS_LOCKS names neither a folder nor a Redis: write a path, or redis://host:6379/0."
        raise OperatorError(message)
    try:
        return LockFolder((Path(place) if place else automatic_folder()) / domain)
    except OSError as error:
        message = f"LIKENESS_LOCKS names a folder that cannot be used ({error}): choose one that can be written to."
        raise OperatorError(message) from error
