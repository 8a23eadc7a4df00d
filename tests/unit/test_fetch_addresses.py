"""Fetching: which addresses may be called, in whatever way they are written."""

from __future__ import annotations

import ipaddress

import pytest

from app.fetch.addresses import literal_address, may_call


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "168.63.129.16",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.9",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::127.0.0.1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:808:808::1",
        "3fff::1",
        "4000::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_private_and_reserved_addresses_may_not_be_called(address: str) -> None:
    assert not may_call(ipaddress.ip_address(address), ())


@pytest.mark.parametrize(
    "address",
    ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.0", "172.15.0.1", "172.32.0.1", "193.0.0.1", "223.255.255.255",
     "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2600::1", "2606:4700:4700::1111", "2a00:1450:4001:81b::200e"],
)  # fmt: skip
def test_public_addresses_may_be_called(address: str) -> None:
    assert may_call(ipaddress.ip_address(address), ())


def test_an_allowed_network_opens_itself_and_nothing_else() -> None:
    allowed = (ipaddress.ip_network("10.1.0.0/16"), ipaddress.ip_network("fd00:1::/32"))
    for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd00:1::5"):
        assert may_call(ipaddress.ip_address(address), allowed)
    for address in ("10.2.0.1", "127.0.0.1", "fd00:2::5", "::ffff:10.2.0.1"):
        assert not may_call(ipaddress.ip_address(address), allowed)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0x7f.0x0.0x0.0x1",
     "0177.0.0.1", "017700000001", "0177.0x0.1"],
)  # fmt: skip
def test_every_spelling_of_an_address_is_read(host: str) -> None:
    assert literal_address(host) == ipaddress.ip_address("127.0.0.1")


def test_addresses_of_version_six_are_read_with_and_without_a_zone() -> None:
    assert literal_address("::1") == ipaddress.ip_address("::1")
    assert literal_address("fe80::1%eth0") == ipaddress.ip_address("fe80::1")


@pytest.mark.parametrize(
    "host", ["example.com", "localhost", "1.example", "0x7g.1", "256.256.256.256", "", "a.b.c.d.e"]
)
def test_a_name_is_no_address(host: str) -> None:
    assert literal_address(host) is None
