"""The fetcher: brings the bytes behind an image URI, following redirects that are checked like the first address."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from app.errors import BlockedAddress, FetchFailed, FetchTimeout, UnsupportedUri
from app.fetch.addresses import IpNetwork
from app.fetch.allow_list import AllowList
from app.fetch.connection import TooMuchFraming
from app.fetch.data_uri import decode_data_uri, is_data_uri
from app.fetch.destinations import Destination, Destinations
from app.fetch.exchange import Exchange, ExchangeLimits, HostTime
from app.fetch.names import SystemResolver
from app.fetch.places import Places
from app.metrics import FetchMetrics

_LONGEST_URL: Final = 8192
_LONGEST_HOST: Final = 300  # a name has at most 253 characters; a port may stand behind it
_OFF_LOOP_CHARACTERS: Final = 262_144  # a data URI longer than this is decoded in a thread: about 1 ms of work


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What one fetch may cost and where it may go.

    Attributes:
        max_bytes: most bytes of one image.
        timeout_s: seconds that hosts may take for one image, redirects and body included, and seconds to wait for a
            place.
        first_byte_s: seconds until a host's answer begins.
        least_speed: bytes a second that an image must come with; 0 is any.
        window_s: seconds over which this speed is asked for: TCP may pause for a lost packet.
        max_redirects: most redirects that are followed.
        connections: most connections at a time.
        host_connections: most connections at a time to one address.
        user_agent: the User-Agent header.
        allow: the only hosts that may be called, where it is not empty.
        allow_networks: private networks that may be called all the same.
    """

    max_bytes: int
    timeout_s: float
    first_byte_s: float
    least_speed: int
    max_redirects: int
    connections: int
    host_connections: int
    user_agent: str
    window_s: float = 2.0
    allow: AllowList = AllowList()
    allow_networks: tuple[IpNetwork, ...] = ()


class Fetcher:
    """Fetches images by URI.

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
        self._destinations = Destinations(
            resolver or SystemResolver(limits.connections), limits.allow, limits.allow_networks
        )
        self._exchange = Exchange(
            ExchangeLimits(
                max_bytes=limits.max_bytes,
                first_byte_s=limits.first_byte_s,
                least_speed=limits.least_speed,
                window_s=limits.window_s,
                user_agent=limits.user_agent,
            ),
            tls,
        )
        self._places = Places(total=limits.connections, each=limits.host_connections)
        self._metrics = metrics or FetchMetrics.unseen()

    async def fetch(self, uri: str, *, before_body: Callable[[], Awaitable[object]] | None = None) -> bytes:
        """Brings the bytes of an image.

        Args:
            uri: ``http://…``, ``https://…`` or ``data:…;base64,…``.
            before_body: awaited once a host is about to send an image, for memory to be reserved; not for a data URI.

        Raises:
            UnsupportedUri: any other URI, or a malformed one.
            BlockedAddress: the host, or one that it redirects to, must not be called.
            TooLarge: more than ``max_bytes``.
            FetchFailed: the host cannot be reached, or answers with something else than a whole image.
            FetchTimeout: the host takes too long.
        """
        source = "data" if is_data_uri(uri) else "url"
        with self._metrics.calls.one(source):
            data = await self._fetch(uri, before_body)
        self._metrics.fetched(source, len(data))
        return data

    async def _fetch(self, uri: str, before_body: Callable[[], Awaitable[object]] | None) -> bytes:
        if is_data_uri(uri):
            if len(uri) > _OFF_LOOP_CHARACTERS:
                return await asyncio.to_thread(decode_data_uri, uri, max_bytes=self._limits.max_bytes)
            return decode_data_uri(uri, max_bytes=self._limits.max_bytes)
        url = _parse(uri)
        host = url.raw_host or ""
        time = HostTime(self._limits.timeout_s)
        for hop in range(self._limits.max_redirects + 1):
            destination = await self._found(url, host, time, is_first=hop == 0)
            async with self._place(destination, host):
                with _sentences(host):
                    answer = await self._exchange.ask(url, destination, host=host, time=time, before_body=before_body)
            if isinstance(answer, bytes):
                return answer
            url = _redirected(url, answer, host)
        raise FetchFailed(f"The image's host {host} redirects more than {self._limits.max_redirects} times.")

    async def _found(self, url: URL, host: str, time: HostTime, *, is_first: bool) -> Destination:
        """Where a URL leads; of where a redirect leads nothing is told."""
        try:
            async with time.running():
                return await self._destinations.find(url)
        except BlockedAddress as error:
            if is_first:
                raise
            raise BlockedAddress(
                f"The image's host {host} redirects to a host, a port or a network that this service won't call."
            ) from error
        except TimeoutError as error:
            raise FetchTimeout(
                f"The image's host {host} took too long to be found by name. Try again later."
            ) from error
        except OSError as error:
            raise FetchFailed(f"The image's host {host} cannot be found by name.") from error

    @asynccontextmanager
    async def _place(self, destination: Destination, host: str) -> AsyncIterator[None]:
        async with AsyncExitStack() as held:
            try:
                async with asyncio.timeout(self._limits.timeout_s):
                    await held.enter_async_context(self._places.take(destination.sites))
            except TimeoutError as error:
                raise FetchTimeout(
                    f"Too many images are being fetched from {host}, or altogether, at this moment. Try again later."
                ) from error
            yield


@contextmanager
def _sentences(host: str) -> Iterator[None]:
    """Turns what a call can fail with into errors that name the host and nothing that lies behind it."""
    try:
        yield
    except TimeoutError as error:
        raise FetchTimeout(f"The image's host {host} took too long to answer. Try again later.") from error
    except aiohttp.ClientSSLError as error:
        raise FetchFailed(f"The image's host {host} has no valid TLS certificate or speaks no TLS.") from error
    except aiohttp.ClientConnectorError as error:
        raise FetchFailed(f"The image's host {host} cannot be reached.") from error
    except TooMuchFraming as error:
        raise FetchFailed(f"The image's host {host} sends too much besides the image.") from error
    except aiohttp.ClientPayloadError as error:
        raise FetchFailed(f"The image's host {host} broke off before the end of the image.") from error
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise FetchFailed(f"The image's host {host} gave no valid HTTP answer.") from error


def _parse(uri: str) -> URL:
    # Looked at before parsing: the parser drops spaces and control characters in front of the scheme.
    if not uri[:8].lower().startswith(("http://", "https://")):
        raise UnsupportedUri("An image URI must start with http://, https:// or data:.")
    authority = re.split(r"[/?#]", uri.partition("://")[2], maxsplit=1)[0]
    # And so is its length: encoding an international host name takes time that grows with its square.
    if len(uri) > _LONGEST_URL or len(authority) > _LONGEST_HOST:
        raise UnsupportedUri("The image URI is too long: shorten it, or send a data URI.")
    if "@" in authority:
        raise UnsupportedUri("The image URI has a user or a password in it, which this service sends to nobody.")
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
    if target.raw_user is not None or target.raw_password is not None:
        raise FetchFailed(f"The image's host {host} redirects to an address with a user or a password in it.")
    if url.scheme == "https" and target.scheme == "http":
        raise FetchFailed(f"The image's host {host} redirects from https to http, which this service won't follow.")
    return target
