"""Where Triton servers are: the entries of the setting, and the addresses that a name stands for."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass

_TIMEOUT_S = 5.0
_SEVERAL = "dns:"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the list.

    Attributes:
        host: a name or an address.
        port: of the gRPC endpoint.
        several: whether each address of the name is a server of its own. Without it gRPC resolves the name and
            keeps to one of its addresses, which is right where something else balances behind the name.
    """

    host: str
    port: int
    several: bool

    @property
    def text(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port}"


def entries(urls: str) -> list[Entry]:
    """Takes ``host:port``, ``[address]:port`` and ``dns:name:port``, separated by commas, apart."""
    found = []
    for part in filter(None, (part.strip() for part in urls.split(","))):
        host, _, port = part.removeprefix(_SEVERAL).rpartition(":")
        found.append(Entry(host, int(port), part.startswith(_SEVERAL)))
    return found


async def resolved(entry: Entry) -> list[str]:
    """The addresses, ``host:port``, that an entry stands for now.

    Of a name with addresses of both families IPv4's are taken: they are the same servers twice.

    Raises:
        OSError: the name is not known, or nobody who knows it answers (``TimeoutError`` is one).
    """
    if not entry.several:
        return [entry.text]
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(_TIMEOUT_S):
        answers = await loop.getaddrinfo(entry.host, entry.port, type=socket.SOCK_STREAM)
    families = {family for family, *_ in answers}
    family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
    hosts = sorted({str(address[0]) for kind, _, _, _, address in answers if kind == family})
    return [f"[{host}]:{entry.port}" if ":" in host else f"{host}:{entry.port}" for host in hosts]


async def expanded(urls: str) -> list[str]:
    """All addresses of a list, each once, in its order; names that are not known stand for none."""
    answers = await asyncio.gather(*(resolved(entry) for entry in entries(urls)), return_exceptions=True)
    return unique(address for answer in answers if not isinstance(answer, BaseException) for address in answer)


def unique(addresses: Iterable[str]) -> list[str]:
    """Each address once, in order of its first place."""
    return list(dict.fromkeys(addresses))
