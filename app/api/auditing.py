"""Tells the audit log about requests: who, what, how many, with which outcome; never an image or a description."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sanic import Request

from app.access.audit import now, open_audit_log
from app.access.caller import Caller
from app.access.key import KeyRole
from app.access.receipts import Receipt
from app.api.error_handler import request_id
from app.api.operations import Answer, Operation
from app.config import Settings
from app.errors import ClientGone, InternalError, LikenessError

# Ids of one request that are told, but for one that asked for a receipt; the number of all of them is told anyway.
_MOST_IDS = 100
_REFUSALS = {401, 403}


@dataclass(slots=True)
class Note:
    """What is known of a request while it is at work.

    Attributes:
        body: once it is read.
        result: of the operation, once it is there.
    """

    body: Any = None
    result: Any = None


class Auditor:
    """Records requests.

    Args:
        settings: what is recorded, and where.
    """

    def __init__(self, settings: Settings) -> None:
        self._what = settings.audit
        self._log = open_audit_log(settings)

    @contextmanager
    def noting(self, request: Request, operation: Operation, path: Mapping[str, str]) -> Iterator[Note]:
        """Yields a note to fill in, and records it with the outcome when the block ends."""
        note = Note()
        began = time.perf_counter()
        status, code = 200, ""
        try:
            yield note
            status = note.result.status if isinstance(note.result, Answer) else 200
        except LikenessError as error:
            status, code = error.status, error.code
            raise
        except asyncio.CancelledError:
            status, code = ClientGone.status, ClientGone.code
            raise
        except BaseException:
            status, code = InternalError.status, InternalError.code
            raise
        finally:
            if self._is_recorded(operation, note, status):
                milliseconds = round((time.perf_counter() - began) * 1000)
                caller = getattr(request.ctx, "caller", None) or Caller(request.ip or "")
                line = {"time": now(), "request": request_id(request), "key": caller.key_id, "address": caller.address}
                line |= self._facts(operation, path, note)
                self._log.add(line | {"status": status, "code": code, "ms": milliseconds})

    def close(self) -> None:
        """Closes the file."""
        self._log.close()

    def _is_recorded(self, operation: Operation, note: Note, status: int) -> bool:
        if self._what == "off" or operation.role is None:
            return False
        if self._what == "all" or status in _REFUSALS or operation.role.includes(KeyRole.WRITE):
            return True
        return any(group.role.includes(KeyRole.WRITE) for group in _groups_in_body(operation, note.body))

    def _facts(self, operation: Operation, path: Mapping[str, str], note: Note) -> dict[str, Any]:
        groups = [path["name"]] if "name" in path else []
        groups += [group.name for group in _groups_in_body(operation, note.body)]
        result = note.result.content if isinstance(note.result, Answer) else note.result
        ids = _ids(path, note.body, result)
        counts = {"ids": len(ids)} if ids else {}
        for name in ("images", "data"):
            sent = getattr(note.body, name, None)
            if isinstance(sent, list):
                counts["images"] = len(sent)
        if isinstance(deleted := getattr(result, "deleted", None), list):
            counts["deleted"] = len(deleted)
        if isinstance(restored := getattr(result, "count", None), int):
            counts["rows"] = restored
        facts: dict[str, Any] = {
            "operation": operation.id,
            "family": operation.family,
            "groups": groups,
            "counts": counts,
        }
        receipt = getattr(result, "receipt", None)
        told = ids if isinstance(receipt, Receipt) else ids[:_MOST_IDS]
        facts["ids"] = self._log.digests(told)
        if isinstance(receipt, Receipt):
            facts |= {"receipt": receipt.receipt, "seal": receipt.seal}
            counts["deleted"] = receipt.count
        if job := path.get("job") or getattr(result, "job", None):
            facts["job"] = job
        return facts


def _groups_in_body(operation: Operation, body: Any) -> list[Any]:
    return operation.groups_in_body(body) if body is not None else []


def _ids(path: Mapping[str, str], body: Any, result: Any) -> list[str]:
    if isinstance(several := getattr(body, "ids", None), list):
        return several
    found = [path.get("id"), getattr(getattr(body, "image", None), "id", None), getattr(result, "id", None)]
    return list(dict.fromkeys(each for each in found if isinstance(each, str) and each))
