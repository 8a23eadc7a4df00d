"""``likeness calibrate``: asks the running service which thresholds suit a group, and shows the answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from app.api.calibration_schemas import GroupCalibration
from app.api.schemas import Error
from app.commands.calibration_text import calibration_text
from app.commands.service import key_headers
from app.config import Settings
from app.errors import OperatorError

_CONNECT_TIMEOUT_S = 5
# The service's own limit comes first, and is answered with a sentence.
_GRACE_S = 30
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (addresses to listen on, and what reaches them)


@dataclass(frozen=True, slots=True)
class Question:
    """What the operator asks.

    Attributes:
        url: where the service is.
        family: ``face`` or ``image``.
        group: name of the group.
        body: of the request.
        plot: file to write the plot to, if any.
    """

    url: str
    family: str
    group: str
    body: dict[str, Any]
    plot: Path | None


def service_url(settings: Settings) -> str:
    """Where a service with these settings is reached from this machine."""
    host = _EVERYWHERE.get(settings.host, settings.host)
    return f"http://[{host}]:{settings.port}" if ":" in host else f"http://{host}:{settings.port}"


def calibrate(question: Question, settings: Settings, say: Callable[[object], None]) -> None:
    """Asks, prints the answer, and writes the plot.

    Args:
        question: what to ask.
        settings: of the service, whose time limit is waited for.
        say: prints.

    Raises:
        OperatorError: the service is not there, answers an error, or the plot cannot be written.
    """
    answer = asyncio.run(_ask(question, settings.request_timeout + _GRACE_S, key_headers(settings)))
    say(calibration_text(question.group, answer))
    if question.plot is not None:
        assert isinstance(answer.plot, str), "it was asked for"
        try:
            question.plot.write_text(answer.plot, encoding="utf-8")
        except OSError as error:
            message = f"The plot cannot be written to {question.plot} ({(error.strerror or str(error)).lower()})."
            raise OperatorError(message) from error
        say(f"\nThe plot is in {question.plot}.")


async def _ask(question: Question, timeout_s: float, headers: Mapping[str, str]) -> GroupCalibration:
    url = f"{question.url.rstrip('/')}/v1/{question.family}/groups/{quote(question.group, safe='')}/calibrate"
    timeout = aiohttp.ClientTimeout(timeout_s, connect=_CONNECT_TIMEOUT_S)
    body = question.body | {"plot": question.plot is not None}
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, headers=headers) as session,
            session.post(url, json=body) as response,
        ):
            status, content = response.status, await response.read()
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
        message = f"{question.url!r} is no address of a service: write it as http://host:port."
        raise OperatorError(message) from error
    except (aiohttp.ClientError, TimeoutError) as error:
        message = f"No service answers at {question.url}: start it with `likeness serve`, or name another with --url."
        raise OperatorError(message) from error
    try:
        if status == 200:
            return msgspec.json.decode(content, type=GroupCalibration)
        raise OperatorError(msgspec.json.decode(content, type=Error).error)
    except msgspec.MsgspecError as error:
        message = f"What answers at {question.url} (status {status}) is not this version of Likeness."
        raise OperatorError(message) from error
