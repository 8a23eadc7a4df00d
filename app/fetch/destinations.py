"""Where the connection for a URL may go: checked by port, by name and by every address."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from app.errors import BlockedAddress
from app.fetch.addresses import IpAddress, IpNetwork, literal_address, may_call
from app.fetch.allow_list import AllowList, is_ordinary
from app.fetch.places import site


@dataclass(frozen=True, slots=True)
class Destination:
    """The addresses that a host may be called at.

    Attributes:
        answers: what the connection is made to; nothing is looked up again.
        sites: whose places it takes.
    """

    answers: tuple[ResolveResult, ...]
    sites: frozenset[str]


class Destinations:
    """Finds destinations, and refuses what must not be called before anything is sent there.

    Args:
        resolver: finds addresses of names.
        allow: the only hosts that may be called, where it is not empty.
        allow_networks: private networks that may be called all the same.
    """

    def __init__(self, resolver: AbstractResolver, allow: AllowList, allow_networks: tuple[IpNetwork, ...]) -> None:
        self._resolver = resolver
        self._allow = allow
        self._allow_networks = allow_networks

    async def find(self, url: URL) -> Destination:
        """Finds where a URL leads.

        Raises:
            BlockedAddress: nowhere that may be called; which addresses a name has is not told.
            OSError: the name cannot be found.
        """
        host, port = url.raw_host or "", url.port or 0
        if self._allow:
            named = self._allow.names(host, port)
            if not named and not self._allow.has_networks(port):
                raise self._not_listed(host, port)  # before its name is looked up: that would tell others of it
        elif not is_ordinary(port):
            raise BlockedAddress(
                f"The image's host {host} is to be called at port {port}, where this service won't: use 80, 443 or one "
                "from 1024 on that belongs to no other protocol."
            )
        found = await self._addresses(host, port)
        called = [answer for answer, address in found if may_call(address, self._allow_networks)]
        if not called:
            raise BlockedAddress(
                f"The image's host {host} is in a private or reserved network, which this service won't call."
            )
        if self._allow and not named:
            called = [answer for answer, address in found if answer in called and self._allow.holds(address, port)]
            if not called:
                raise self._not_listed(host, port)
        sites = frozenset(site(address) for answer, address in found if answer in called)
        return Destination(tuple(called), sites)

    async def _addresses(self, host: str, port: int) -> list[tuple[ResolveResult, IpAddress]]:
        literal = literal_address(host)
        if literal is not None:
            family = socket.AF_INET if literal.version == 4 else socket.AF_INET6
            answer = ResolveResult(
                hostname=host, host=str(literal), port=port, family=family, proto=0, flags=socket.AI_NUMERICHOST
            )
            return [(answer, literal)]
        try:
            answers = await self._resolver.resolve(host, port)
        except UnicodeError as error:
            raise OSError("The name is malformed.") from error
        if not answers:
            raise OSError("The name has no address.")
        return [(answer, address) for answer in answers if (address := _address(answer["host"])) is not None]

    @staticmethod
    def _not_listed(host: str, port: int) -> BlockedAddress:
        return BlockedAddress(
            f"This service fetches no images from {host} at port {port}: its operator has named the hosts that it "
            "calls. Send a data URI."
        )


class Pinned(AbstractResolver):
    """Answers with the addresses that were checked, so that none can change between check and call (DNS rebinding)."""

    def __init__(self, destination: Destination) -> None:
        self._answers = destination.answers

    async def resolve(
        self,
        host: str,  # noqa: ARG002
        port: int = 0,  # noqa: ARG002
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002
    ) -> list[ResolveResult]:
        """The checked addresses."""
        return list(self._answers)

    async def close(self) -> None:
        """Nothing is held."""


def _address(text: str) -> IpAddress | None:
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
