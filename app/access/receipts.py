"""Receipts of deletions: what was deleted, when and where, without telling what it was.

Whoever knows an id can have it compared with a receipt by the operator, who has this installation's key; nobody else
learns an id from one, so that a receipt can be kept when what it is about may not.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from app.access.audit import AuditLog, now

_ID_BYTES = 12


class Receipt(Struct, kw_only=True, frozen=True):
    """Says what was deleted; `likeness audit --receipt` tells whether it is genuine."""

    receipt: Annotated[str, Meta(description="Its id, also in the audit log.", examples=["1f0a5c3e9b7d2468ace01357"])]
    time: Annotated[str, Meta(description="When the deletion was done, UTC in ISO 8601.")]
    operation: Annotated[Literal["delete", "remove"], Meta(description="Images were deleted, or a group removed.")]
    family: str
    group: str
    key: Annotated[str, Meta(description="Id of the key that asked for it; empty where no keys are asked for.")]
    count: Annotated[int, Meta(ge=0, description="Images that were there and now are not.")]
    digests: Annotated[
        list[str],
        Meta(
            description="HMAC-SHA-256 of each id in `deleted`, in that order, by a key that only the operator has; "
            "its first 16 characters stand for the id in the audit log. Empty for a whole group."
        ),
    ]
    seal: Annotated[str, Meta(description="HMAC-SHA-256 of all the other fields by the same key.")]


class Receipts:
    """Makes receipts and tells them from made-up ones.

    Args:
        log: has the key.
    """

    def __init__(self, log: AuditLog) -> None:
        self._log = log

    def of_deleted(self, family: str, group: str, ids: Sequence[str], *, key: str) -> Receipt:
        """For images that were deleted."""
        digests = [self._log.full_digest(each) for each in ids]
        return self._sealed("delete", family, group, key=key, count=len(ids), digests=digests)

    def of_removed(self, family: str, group: str, count: int, *, key: str) -> Receipt:
        """For a group that was removed with so many images."""
        return self._sealed("remove", family, group, key=key, count=count, digests=[])

    def is_genuine(self, receipt: Receipt) -> bool:
        """Whether it was made here, and nothing in it was altered."""
        return hmac.compare_digest(self._seal(receipt), receipt.seal)

    def _sealed(
        self,
        operation: Literal["delete", "remove"],
        family: str,
        group: str,
        *,
        key: str,
        count: int,
        digests: list[str],
    ) -> Receipt:
        receipt = Receipt(
            receipt=secrets.token_hex(_ID_BYTES),
            time=now(),
            operation=operation,
            family=family,
            group=group,
            key=key,
            count=count,
            digests=digests,
            seal="",
        )
        return msgspec.structs.replace(receipt, seal=self._seal(receipt))

    def _seal(self, receipt: Receipt) -> str:
        return self._log.seal(msgspec.json.encode(msgspec.structs.replace(receipt, seal="")))
