"""The fetcher: one bounded HTTP session that brings the bytes behind an image URI."""

from __future__ import annotations

import asyncio
import re
import ssl
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from app.errors import BlockedAddress, FetchFailed, FetchTimeout, TooLarge, UnsupportedUri
from app.fetch.addresses import IpNetwork, PublicResolver, blocked, literal_address, may_call
from app.fetch.data_uri import decode_data_uri, is_data_uri
from app.metrics import FetchMetrics

_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LONGEST_URL: Final = 8192
_LONGEST_HOST: Final = 300  # a name has at most 253 characters; credentials and a port may stand around it
_OFF_LOOP_CHARACTERS: Final = 262_144  # a data URI longer than this is decoded in a thread: about 1 ms of work


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What one fetch may cost and where it may go.

    Attributes:
        max_bytes: most bytes of one image.
        timeout_s: seconds for a whole fetch: waiting for a connection, redirects and body included.
        connect_timeout_s: seconds for one TCP connection.
        max_redirects: most redirects that are followed.
        connections: most connections at a time, half of them to one host.
        user_agent: the User-Agent header.
        allow_networks: private networks that may be called all the same.
    """

    max_bytes: int
    timeout_s: float
    connect_timeout_s: float
    max_redirects: int
    connections: int
    user_agent: str
    allow_networks: tuple[IpNetwork, ...] = ()


class Fetcher:
    """Fetches images by URI; open it with ``async with``.

    Args:
        limits: sizes, times and networks.
        resolver: finds addresses of names; the system's own where None.
        tls: trust for https, for example in an organisation's own authority; the system's where None.
        metrics: told of each image.
    """

    def __init__(
        self,
        limits: FetchLimits,
        *,
        resolver: AbstractResolver | None = None,
        tls: ssl.SSLContext | None = None,
        metrics: FetchMetrics | None = None,
    ) -> None:
        self._limits = limits
        self._resolver = resolver
        self._tls = tls
        self._metrics = metrics or FetchMetrics.unseen()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        limits = self._limits
        connector = aiohttp.TCPConnector(
            limit=limits.connections,
            limit_per_host=max(1, limits.connections // 2),
            resolver=PublicResolver(self._resolver or aiohttp.ThreadedResolver(), limits.allow_networks),
            use_dns_cache=False,
            ssl=True if self._tls is None else self._tls,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.connect_timeout_s),
            # Compressed bodies would have to be counted twice; images are compressed already.
            headers={"User-Agent": limits.user_agent, "Accept": "image/*,*/*;q=0.1", "Accept-Encoding": "identity"},
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def fetch(self, uri: str) -> bytes:
        """Brings the bytes of an image.

        Args:
            uri: ``http://…``, ``https://…`` or ``data:…;base64,…``.

        Raises:
            UnsupportedUri: any other URI, or a malformed one.
            BlockedAddress: the host, or one that it redirects to, is in a network that must not be called.
            TooLarge: more than ``max_bytes``.
            FetchFailed: the host cannot be reached, or answers with something else than a whole image.
            FetchTimeout: the host takes too long.
        """
        source = "data" if is_data_uri(uri) else "url"
        with self._metrics.calls.one(source):
            data = await self._fetch(uri)
        self._metrics.fetched(source, len(data))
        return data

    async def _fetch(self, uri: str) -> bytes:
        if is_data_uri(uri):
            if len(uri) > _OFF_LOOP_CHARACTERS:
                return await asyncio.to_thread(decode_data_uri, uri, max_bytes=self._limits.max_bytes)
            return decode_data_uri(uri, max_bytes=self._limits.max_bytes)
        url = _parse(uri)
        host = url.raw_host or ""
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return await self._follow(url, host)
        except TimeoutError as error:
            raise FetchTimeout(f"The image's host {host} took too long to answer. Try again later.") from error
        except aiohttp.ClientConnectorDNSError as error:
            raise FetchFailed(f"The image's host {host} cannot be found by name.") from error
        except aiohttp.ClientSSLError as error:
            raise FetchFailed(f"The image's host {host} has no valid TLS certificate or speaks no TLS.") from error
        except aiohttp.ClientConnectorError as error:
            raise FetchFailed(f"The image's host {host} cannot be reached.") from error
        except aiohttp.ClientPayloadError as error:
            raise FetchFailed(f"The image's host {host} broke off before the end of the image.") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise FetchFailed(f"The image's host {host} gave no valid HTTP answer.") from error

    async def _follow(self, url: URL, host: str) -> bytes:
        """Follows redirects by hand, so that every hop is checked like the first one."""
        if self._session is None:
            raise RuntimeError("The fetcher is used outside of its async with block.")
        for hop in range(self._limits.max_redirects + 1):
            try:
                self._check_literal(url)
                async with self._session.get(url, allow_redirects=False) as response:
                    try:
                        if response.status not in _REDIRECTS:
                            return await self._read(response, host)
                        url = _redirected(url, response.headers.get("Location", ""), host)
                    finally:
                        if not response.content.at_eof():
                            response.close()  # what is left of the body is not wanted, nor is the connection
            except BlockedAddress as error:
                if hop == 0:
                    raise
                raise BlockedAddress(
                    f"The image's host {host} redirects into a private or reserved network: not called."
                ) from error
        raise FetchFailed(f"The image's host {host} redirects more than {self._limits.max_redirects} times.")

    def _check_literal(self, url: URL) -> None:
        """Checks a host that is an address already: the connector would not ask the resolver about it."""
        address = literal_address(url.raw_host or "")
        if address is not None and not may_call(address, self._limits.allow_networks):
            raise blocked(url.raw_host or "")

    async def _read(self, response: aiohttp.ClientResponse, host: str) -> bytes:
        if response.status != 200:
            raise FetchFailed(f"The image's host {host} answered with status {response.status} instead of an image.")
        encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
        if encoding != "identity":
            raise FetchFailed(f"The image's host {host} answered with a Content-Encoding that was not asked for.")
        limit = self._limits.max_bytes
        too_large = TooLarge(f"The image at {host} is larger than {limit} bytes. Send a smaller one.")
        if (response.content_length or 0) > limit:
            raise too_large
        chunks: list[bytes] = []
        received = 0
        async for chunk in response.content.iter_any():
            received += len(chunk)
            if received > limit:
                raise too_large
            chunks.append(chunk)
        return b"".join(chunks)


def _parse(uri: str) -> URL:
    # Looked at before parsing: the parser drops spaces and control characters in front of the scheme.
    if not uri[:8].lower().startswith(("http://", "https://")):
        raise UnsupportedUri("An image URI must start with http://, https:// or data:.")
    # And so is its length: encoding an international host name takes time that grows with its square.
    if len(uri) > _LONGEST_URL or len(re.split(r"[/?#]", uri[8:], maxsplit=1)[0]) > _LONGEST_HOST:
        raise UnsupportedUri("The image URI is too long: shorten it, or send a data URI.")
    try:
        url = URL(uri)
    except ValueError as error:
        raise UnsupportedUri("The image URI is malformed.") from error
    if url.scheme not in ("http", "https") or not url.raw_host:
        raise UnsupportedUri("The image URI names no host.")
    return url


def _redirected(url: URL, location: str, host: str) -> URL:
    """Where a redirect leads.

    Raises:
        FetchFailed: nowhere, to another scheme than http and https, or from https to http.
    """
    try:
        target = url.join(URL(location))
    except ValueError as error:
        raise FetchFailed(f"The image's host {host} redirects to a malformed address.") from error
    if not location or target.scheme not in ("http", "https") or not target.raw_host:
        raise FetchFailed(f"The image's host {host} redirects to no http or https address.")
    if url.scheme == "https" and target.scheme == "http":
        raise FetchFailed(f"The image's host {host} redirects from https to http, which this service won't follow.")
    return target
