"""Where Triton servers are: the entries of the setting, and the addresses that a name stands for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

_TIMEOUT_S = 5.0
_SEVERAL = "dns:"


class Address(NamedTuple):
    """Where one server is.

    Attributes:
        grpc: ``host:port`` of its gRPC endpoint, by which it is known.
        http: the same of its HTTP endpoint, to which batches go; empty: they go to the other one.
    """

    grpc: str
    http: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the list.

    Attributes:
        host: a name or an address.
        port: of the gRPC endpoint.
        several: whether each address of the name is a server of its own. Without it gRPC resolves the name and
            keeps to one of its addresses, which is right where something else balances behind the name.
        http_port: of the HTTP endpoint; 0: it is not used.
    """

    host: str
    port: int
    several: bool
    http_port: int = 0

    @property
    def text(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"

    def address(self, host: str) -> Address:
        """That of the server at some address of the name."""
        return Address(f"{host}:{self.port}", f"{host}:{self.http_port}" if self.http_port else "")


def entries(urls: str) -> list[Entry]:
    """Takes ``host:port``, ``[address]:port`` and ``dns:name:port``, separated by commas, apart.

    Each may end with ``/port``, of the HTTP endpoint.
    """
    found = []
    for part in filter(None, (part.strip() for part in urls.split(","))):
        host, _, ports = part.removeprefix(_SEVERAL).rpartition(":")
        port, _, http_port = ports.partition("/")
        found.append(Entry(host, int(port), part.startswith(_SEVERAL), int(http_port or 0)))
    return found


async def resolved(entry: Entry) -> list[Address]:
    """The addresses that an entry stands for now.

    Of a name with addresses of both families IPv4's are taken: they are the same servers twice.

    Raises:
        OSError: the name is not known, or nobody who knows it answers (``TimeoutError`` is one).
    """
    if not entry.several:
        return [entry.address(entry.host)]
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_TIMEOUT_S):
        answers = await loop.getaddrinfo(entry.host, entry.port, type=socket.SOCK_STREAM)
    families = {family for family, *_ in answers}
    family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
    hosts = sorted({str(address[0]) for kind, _, _, _, address in answers if kind == family})
    return [entry.address(f"[{host}]" if ":" in host else host) for host in hosts]


async def expanded(urls: str) -> list[Address]:
    """All addresses of a list, each once, in its order; names that are not known stand for none."""
    answers = await asyncio.gather(*(resolved(entry) for entry in entries(urls)), return_exceptions=True)
    return unique(address for answer in answers if not isinstance(answer, BaseException) for address in answer)


def unique(addresses: Iterable[Address]) -> list[Address]:
    """Each server once, in order of its first place."""
    first: dict[str, Address] = {}
    for address in addresses:
        first.setdefault(address.grpc, address)
    return list(first.values())
