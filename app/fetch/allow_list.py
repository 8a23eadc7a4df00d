"""Which hosts images may be fetched from, where an operator names them, and at which ports."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from yarl import URL

from app.errors import OperatorError
from app.fetch.addresses import IpAddress, IpNetwork, embedded_v4

_WEB: Final = frozenset({80, 443})
_FIRST_FREE: Final = 1024
# Ports of other protocols, which browsers refuse as well (WHATWG Fetch, section 2.9, "bad port"); those under 1024
# need no list.
_OTHER_PROTOCOLS: Final = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, *range(6665, 6670), 6679, 6697, 10080}
)
_ENTRY: Final = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]+(?:/\d{1,3})?)\]|(?P<v4>\d[\d.]*(?:/\d{1,2})?)|(?P<wild>\*\.)?(?P<name>[^\s/:*\[\]@?#]+))"
    r"(?::(?P<port>\d{1,5}|\*))?"
)


def is_ordinary(port: int) -> bool:
    """Whether a web server may be expected at a port: 80, 443, and those from 1024 on that belong to nothing else."""
    return port in _WEB or (port >= _FIRST_FREE and port not in _OTHER_PROTOCOLS)


@dataclass(frozen=True, slots=True)
class _Entry:
    """One host or network.

    Attributes:
        name: the host in lower case, without a dot at its end; empty for a network.
        below: the hosts below this name are meant, and not itself.
        network: the addresses, where no name is given.
        port: the only port; 0 for every ordinary one, None for 80 and 443.
    """

    name: str = ""
    below: bool = False
    network: IpNetwork | None = None
    port: int | None = None

    def fits_port(self, port: int) -> bool:
        if self.port is None:
            return port in _WEB
        return is_ordinary(port) if self.port == 0 else port == self.port

    def fits_name(self, host: str) -> bool:
        return bool(self.name) and (host.endswith("." + self.name) if self.below else host == self.name)


@dataclass(frozen=True, slots=True)
class AllowList:
    """The only hosts that are called; an empty list allows all.

    It opens nothing by itself: a host that it names must also have a public address, or one in a network that is
    opened as such.
    """

    entries: tuple[_Entry, ...] = ()

    @classmethod
    def parse(cls, texts: Iterable[str]) -> AllowList:
        """Reads ``photos.example.org``, ``*.example.org``, ``203.0.113.0/24``, ``[2001:db8::/32]``; a port may follow.

        Raises:
            OperatorError: an entry is none of these.
        """
        return cls(tuple(_entry(text) for text in texts))

    def __bool__(self) -> bool:
        return bool(self.entries)

    def names(self, host: str, port: int) -> bool:
        """Whether a host is allowed by its name."""
        host = host.lower().rstrip(".")
        return any(entry.fits_name(host) and entry.fits_port(port) for entry in self.entries)

    def has_networks(self, port: int) -> bool:
        """Whether any address is allowed at this port."""
        return any(entry.network is not None and entry.fits_port(port) for entry in self.entries)

    def holds(self, address: IpAddress, port: int) -> bool:
        """Whether an address is in an allowed network."""
        address = embedded_v4(address)
        return any(
            entry.network is not None
            and entry.fits_port(port)
            and entry.network.version == address.version
            and address in entry.network
            for entry in self.entries
        )


def _entry(text: str) -> _Entry:
    error = OperatorError(
        f"LIKENESS_FETCH_ALLOW has {text!r}: it must have hosts such as photos.example.org or *.example.org, and "
        "networks such as 203.0.113.0/24 or [2001:db8::/32], each with a port behind it (:8080, or :* for any) or not."
    )
    found = _ENTRY.fullmatch(text.strip())
    if found is None:
        raise error
    port = None if found["port"] is None else 0 if found["port"] == "*" else int(found["port"])
    try:
        if found["name"] is None:
            return _Entry(network=ipaddress.ip_network(found["v6"] or found["v4"]), port=port)
        # As in a URL: international names are compared in the form that they have there.
        host = URL(f"http://{found['name']}/").raw_host or ""
    except ValueError as cause:
        raise error from cause
    if not host or (port is not None and port > 65535) or found["port"] == "0":
        raise error
    return _Entry(name=host.lower().rstrip("."), below=found["wild"] is not None, port=port)
