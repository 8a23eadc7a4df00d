"""The running service, as commands speak to it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import msgspec

from app.api.schemas import Error
from app.config import Settings
from app.errors import OperatorError

_CONNECT_TIMEOUT_S = 5


class Unanswered(Exception):
    """The service did not answer, or not to the end: what was asked may have happened all the same."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was read.

    Attributes:
        status: of HTTP.
        content: the body.
        retry_after_s: seconds after which the service wants to be asked again; None where it does not say.
    """

    status: int
    content: bytes
    retry_after_s: float | None = None

    @property
    def error(self) -> Error:
        """What went wrong; made up where the answer is none of this service's."""
        try:
            return msgspec.json.decode(self.content, type=Error)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            sentence = f"What answers (status {self.status}) is not this version of Likeness."
            return Error(sentence, "not_likeness", "")


class Service:
    """One running service.

    Args:
        url: where it is.
        session: speaks HTTP.
    """

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url.rstrip("/")
        self._session = session

    async def call(self, method: str, path: str, body: Any = None) -> Reply:
        """Asks, and reads the answer.

        Raises:
            Unanswered: there is none.
            OperatorError: the URL is none.
        """
        data = None if body is None else msgspec.json.encode(body)
        async with self.answer(method, path, data) as response:
            try:
                content = await response.read()
            except (aiohttp.ClientError, TimeoutError) as error:
                raise Unanswered from error
            seconds = response.headers.get("Retry-After", "")
            return Reply(response.status, content, float(seconds) if seconds.isdecimal() else None)

    @asynccontextmanager
    async def answer(self, method: str, path: str, data: Any = None) -> AsyncIterator[aiohttp.ClientResponse]:
        """Asks, and yields an answer to be read. Raises as ``call``."""
        try:
            request = self._session.request(method, self.url + path, data=data)
            response = await request
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError) as error:
            message = f"{self.url!r} is no address of a service: write it as http://host:port."
            raise OperatorError(message) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unanswered from error
        async with response:
            yield response

    @property
    def nobody(self) -> OperatorError:
        """What to tell where nobody answers."""
        return OperatorError(
            f"No service answers at {self.url}: start it with `likeness serve`, or name another with --url."
        )


def key_headers(settings: Settings) -> dict[str, str]:
    """What tells the service who asks, where the settings have a key; a command line would show it to every user.

    Raises:
        OperatorError: its file cannot be read, or holds none.
    """
    key = settings.api_key
    if not key and settings.api_key_file != Path():
        try:
            key = settings.api_key_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise OperatorError(f"The key in {settings.api_key_file} cannot be read ({error}).") from error
    if not re.fullmatch(r"[\x21-\x7e]*", key):
        raise OperatorError("What is given as a key is none: it has no spaces and no line breaks.")
    return {"Authorization": f"Bearer {key}"} if key else {}


@asynccontextmanager
async def open_service(
    url: str, *, connections: int, read_timeout_s: float, headers: Mapping[str, str] | None = None
) -> AsyncIterator[Service]:
    """Yields the service at a URL; nothing is asked of it yet.

    Args:
        url: where it is.
        connections: most of them at a time.
        read_timeout_s: seconds without a byte of an answer after which nobody is there.
        headers: of all requests.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S, sock_read=read_timeout_s)
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector, headers=headers) as session:
        yield Service(url, session)


def group_path(family: str, group: str) -> str:
    """Where a group is in the service."""
    return f"/v1/{family}/groups/{quote(group, safe='')}"
