"""One tidy log on standard error: sentences for people, or one JSON object a line for machines."""

from __future__ import annotations

import logging
import re
import sys
from contextvars import ContextVar
from datetime import UTC, datetime

import msgspec

FIELDS = "likeness_fields"  # what a record says beyond its sentence, by name: ``extra={FIELDS: {...}}``

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(about)s%(message)s"
_URL = re.compile(r"(\w+://)(?:[^\s/?#'\"@]*@)?([^\s?#'\"]*)([?#][^\s'\"]*)?")
_DATA_URI = re.compile(r"data:[^\s,'\"]{0,255};base64,[A-Za-z0-9+/=_%-]*")

# Tasks and worker threads inherit it from the request that started them.
_request: ContextVar[str] = ContextVar("request", default="")


def name_request(id: str) -> None:  # noqa: A002
    """Writes this id on every line that is logged from here on, in this task and in those that it starts."""
    _request.set(id)


def set_up_logging(level: str, form: str = "human") -> None:
    """Sends every logger to standard error, libraries from warnings up.

    Args:
        level: debug, info, warning or error: for the service's own loggers.
        form: ``human`` or ``json``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if form == "json" else Sentences())
    handler.addFilter(_note_request)
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("likeness").setLevel(level.upper())
    # Sanic logs its own life at "info"; ours is told by "likeness".
    logging.getLogger("sanic").setLevel(logging.WARNING)


def without_secrets(text: str) -> str:
    """The text with addresses cut before their query, without passwords, and with images left out."""
    if "data:" in text:
        text = _DATA_URI.sub("data:…", text)
    return _URL.sub(_shortened, text) if "://" in text else text


class Sentences(logging.Formatter):
    """A line for people."""

    def __init__(self) -> None:
        super().__init__(_FORMAT, "%Y-%m-%d %H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, logger, the request's id in brackets, and the sentence; a traceback follows."""
        request = getattr(record, "request_id", "")
        record.about = f"[{request}] " if request else ""
        return without_secrets(super().format(record))


class JsonLines(logging.Formatter):
    """A JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """``time`` (UTC), ``level``, ``logger``, ``message``; ``request_id`` and ``exception`` where there are any.

        What else a record says stands beside them.
        """
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": without_secrets(record.getMessage()),
        }
        if request := getattr(record, "request_id", ""):
            line["request_id"] = request
        line.update(getattr(record, FIELDS, {}))
        if record.exc_info:
            line["exception"] = without_secrets(self.formatException(record.exc_info))
        return msgspec.json.encode(line, enc_hook=str).decode()


def _note_request(record: logging.LogRecord) -> bool:
    record.request_id = _request.get()
    return True


def _shortened(url: re.Match[str]) -> str:
    return f"{url[1]}{url[2]}{'?…' if url[3] else ''}"
