"""Tells which stored rows this service could not have written, or cannot read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from app.errors import InvalidRequest
from app.store import desc, keys
from app.store.findings import Kind
from app.store.records import Family


def flaw(fields: Mapping[str, Any], family: Family) -> Kind | None:
    """What is wrong with a row as Milvus has it; None where nothing is.

    Args:
        fields: its texts.
        family: of the group.
    """
    if not (_is_ours(fields["id"]) and _is_ours(fields["tag"])):
        return Kind.FOREIGN_TEXT
    if not fields["id"]:
        return Kind.EMPTY_ID
    if family is Family.FACE and not _is_box(fields["bounding_box"]):
        return Kind.NO_BOX
    if not _is_json(desc.restored(fields["desc"])):
        return Kind.UNREADABLE_DESC
    return None


def _is_ours(written: str) -> bool:
    try:
        return keys.stored(keys.restored(written)) == written
    except InvalidRequest:
        return False


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=_refused)
    except (ValueError, RecursionError):
        return False
    return True


def _is_box(text: str) -> bool:
    try:
        kept = json.loads(text, parse_constant=_refused)
        points, score = kept["pts"], kept["score"]
        whole = len(points) == 4 and all(type(x) is int and type(y) is int for x, y in points)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
    return whole and (score is None or (type(score) in (int, float) and math.isfinite(score)))


def _refused(constant: str) -> float:
    raise ValueError(constant)
