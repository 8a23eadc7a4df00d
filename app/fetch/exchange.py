"""One question to one host, and its answer: bytes of an image or another address, within limits."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
from yarl import URL

from app.errors import FetchFailed, FetchTimeout, TooLarge
from app.fetch.connection import OneUseConnector
from app.fetch.destinations import Destination

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


@dataclass(frozen=True, slots=True)
class ExchangeLimits:
    """What one answer may be.

    Attributes:
        max_bytes: most bytes of its body.
        first_byte_s: seconds until its head is there, connecting included.
        least_speed: bytes a second that the body must come with; 0 is any.
        window_s: seconds over which this speed is asked for.
        user_agent: the User-Agent header.
    """

    max_bytes: int
    first_byte_s: float
    least_speed: int
    window_s: float
    user_agent: str


class HostTime:
    """The seconds that hosts may take for one image; what the service itself waits for does not count."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Counts the time inside the block.

        Raises:
            TimeoutError: it is used up.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            async with asyncio.timeout(self._left):
                yield
        finally:
            self._left = max(0.0, self._left - (loop.time() - started))


class Exchange:
    """Asks hosts.

    Args:
        limits: of one answer.
        tls: trust for https; the system's where None.
    """

    def __init__(self, limits: ExchangeLimits, tls: ssl.SSLContext | None) -> None:
        self._limits = limits
        self._tls = tls

    async def ask(
        self,
        url: URL,
        destination: Destination,
        *,
        host: str,
        time: HostTime,
        before_body: Callable[[], Awaitable[object]] | None,
    ) -> bytes | str:
        """Asks for an image.

        Args:
            url: the image's.
            destination: where the connection goes.
            host: how the host is called in sentences.
            time: what hosts may take.
            before_body: awaited before the image itself is read.

        Returns:
            The image's bytes, or where else it is.

        Raises:
            FetchFailed, FetchTimeout, TooLarge: the host answers badly, slowly, or with too much.
            TimeoutError, aiohttp.ClientError, OSError, ValueError: likewise; the caller has sentences for them.
        """
        limits = self._limits
        async with aiohttp.ClientSession(
            connector=OneUseConnector(destination, self._tls),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=None, connect=None),
            # Compressed bodies would have to be counted twice; images are compressed already.
            headers={"User-Agent": limits.user_agent, "Accept": "image/*,*/*;q=0.1", "Accept-Encoding": "identity"},
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        ) as session:
            async with time.running():
                try:
                    async with asyncio.timeout(limits.first_byte_s):
                        response = await session.get(url, allow_redirects=False)
                except TimeoutError as error:
                    raise FetchTimeout(
                        f"The image's host {host} did not begin to answer within {limits.first_byte_s:g} seconds. Try "
                        "again later."
                    ) from error
            try:
                if response.status in _REDIRECTS:
                    return response.headers.get("Location", "")
                self._check_head(response, host)
                if before_body is not None:
                    await before_body()
                async with time.running():
                    return await self._read(response.content, host)
            finally:
                response.close()

    def _check_head(self, response: aiohttp.ClientResponse, host: str) -> None:
        if response.status != 200:
            raise FetchFailed(f"The image's host {host} answered with status {response.status} instead of an image.")
        for header, plain in (("Content-Encoding", "identity"), ("Transfer-Encoding", "chunked")):
            given = response.headers.getall(header, [plain])
            if [each.strip().lower() for each in given] != [plain]:
                raise FetchFailed(f"The image's host {host} answered with a {header} that was not asked for.")
        if (response.content_length or 0) > self._limits.max_bytes:
            raise self._too_large(host)

    async def _read(self, content: aiohttp.StreamReader, host: str) -> bytes:
        limits, loop = self._limits, asyncio.get_running_loop()
        chunks: list[bytes] = []
        received = in_window = 0
        window_end = loop.time() + limits.window_s
        while True:
            try:
                async with asyncio.timeout_at(window_end):
                    chunk = await content.readany()
            except TimeoutError as error:
                if in_window < limits.least_speed * limits.window_s:
                    raise FetchTimeout(
                        f"The image's host {host} sends less than {limits.least_speed} bytes a second. Try again "
                        "later, or send a data URI."
                    ) from error
                in_window, window_end = 0, loop.time() + limits.window_s
                continue
            if not chunk:
                return b"".join(chunks)
            received += len(chunk)
            in_window += len(chunk)
            if received > limits.max_bytes:
                raise self._too_large(host)
            chunks.append(chunk)

    def _too_large(self, host: str) -> TooLarge:
        return TooLarge(f"The image at {host} is larger than {self._limits.max_bytes} bytes. Send a smaller one.")
