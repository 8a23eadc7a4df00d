"""``likeness audit``: shows what the audit log says of a key, a group or an image, and checks receipts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import msgspec

from app.access.audit import open_audit_log
from app.access.receipts import Receipt, Receipts
from app.config import Settings
from app.errors import OperatorError


class _Answer(msgspec.Struct):
    receipt: Receipt


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


def check_receipt(settings: Settings, say: Callable[[object], None], file: Path, *, image: str) -> int:
    """Says whether a receipt was made by this installation, whether it is about an image, and what the log says of it.

    Args:
        settings: where the log and its key are.
        say: prints.
        file: the receipt, or the whole answer that it came in.
        image: id of an image that it should be about; empty where that is not asked.

    Returns:
        the exit status: 0 where all of that holds.

    Raises:
        OperatorError: the file has no receipt.
    """
    receipt = _read(file)
    log = open_audit_log(settings)
    if not Receipts(log).is_genuine(receipt):
        say("The receipt was not made by this installation, or it was altered.")
        return 1
    what = "removal of the group" if receipt.operation == "remove" else "deletion in the group"
    say(f"The receipt is genuine: {what} {receipt.family}/{receipt.group} at {receipt.time}, images: {receipt.count}.")
    about = not image or log.full_digest(image) in receipt.digests
    if image:
        say(f"The image {image!r} is {'' if about else 'not '}among those that it names.")
    lines = [line for line in log.lines() if line.get("receipt") == receipt.receipt]
    for line in lines:
        say(json.dumps(line, ensure_ascii=False))
    if not lines:
        say("The audit log has no line about it: it is off, or that part of it is kept no more.")
    return 0 if about else 1


def _read(file: Path) -> Receipt:
    try:
        data = file.read_bytes()
    except OSError as error:
        message = f"{file} cannot be read ({(error.strerror or str(error)).lower()})."
        raise OperatorError(message) from error
    try:
        return msgspec.json.decode(data, type=_Answer).receipt
    except (msgspec.MsgspecError, UnicodeDecodeError):
        pass
    try:
        return msgspec.json.decode(data, type=Receipt)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise OperatorError(f"{file} holds no receipt: give the answer of a deletion with `?receipt=true`.") from error
