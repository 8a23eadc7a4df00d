"""Which network addresses the service may call on behalf of a client (against server-side request forgery)."""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# IANA special-purpose registries (RFC 6890 and its updates). Spelled out because ``is_global`` of the standard library
# answers differently from one patch release to the next.
_CLOSED_V4: Final = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT
        "127.0.0.0/8",
        "168.63.129.16/32",  # public by registry, but Azure's own host agent
        "169.254.0.0/16",  # link-local: cloud metadata
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.31.196.0/24",
        "192.52.193.0/24",
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",
        "192.175.48.0/24",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved and broadcast
    )
)
_OPEN_V6: Final = ipaddress.IPv6Network("2000::/3")  # all of global unicast that is assigned
_CLOSED_V6: Final = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments, among them Teredo, which embeds IPv4 addresses
        "2001:db8::/32",
        "2002::/16",  # 6to4 embeds IPv4 addresses
        "2620:4f:8000::/48",
        "3fff::/20",
    )
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: how an IPv6-only network reaches IPv4


def may_call(address: IpAddress, allowed: tuple[IpNetwork, ...]) -> bool:
    """Whether an address is global unicast, or in a network that the operator allows.

    An IPv4 address inside an IPv6 one (mapped, or behind NAT64) is judged as what it leads to. Other embeddings
    (6to4, Teredo, IPv4-compatible) are never allowed: nothing public needs them any more.

    Args:
        address: where a connection would go.
        allowed: private networks that the operator has opened.
    """
    address = embedded_v4(address)
    if any(address.version == network.version and address in network for network in allowed):
        return True
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _CLOSED_V4)
    return address in _OPEN_V6 and not any(address in network for network in _CLOSED_V6)


def literal_address(host: str) -> IpAddress | None:
    """Reads a host that is an address, in every spelling that a C library takes for one.

    ``inet_aton`` knows ``2130706433``, ``0x7f.1`` and ``0177.0.0.1``, all of them 127.0.0.1.

    Args:
        host: the host of a URL, without brackets.

    Returns:
        The address, or None where the host is a name.
    """
    host = host.rstrip(".").partition("%")[0]
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, ValueError):
        return None


def embedded_v4(address: IpAddress) -> IpAddress:
    """The IPv4 address that an IPv6 one leads to (mapped, or behind NAT64), else the address itself."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address
