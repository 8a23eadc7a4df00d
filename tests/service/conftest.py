"""What several files of these tests share: services with other limits, and a guard of what is fetched."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator

import pytest

from tests.running_service import RunningService
from tests.spread_service import Spread, spread_service

_LIMITS = {
    "max_requests": "1",
    "max_body_bytes": "30000",
    "restore_max_bytes": "60000",
    "import_max_bytes": "100000",
    "imports": "2",
    "transfers": "1",
    "log_format": "json",
    "fetch_least_speed": "0",  # hosts of images wait for the test
    "fetch_first_byte": "10",
}


@pytest.fixture(scope="session")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service that admits one request, keeps two imports and moves one group at a time, all of them small; it logs JSON."""
    folder = tmp_path_factory.mktemp("narrow")
    with RunningService(folder / "data", fetch_allow_networks="127.0.0.0/8", **_LIMITS) as service:
        yield service


@pytest.fixture(scope="session")
def spread(tmp_path_factory: pytest.TempPathFactory, service: RunningService) -> Iterator[Spread]:
    """A service on two Tritons that sends its traces to a collector."""
    with spread_service(tmp_path_factory.mktemp("spread"), service) as started:
        yield started


@pytest.fixture
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails a test whose connection or question would leave the machine, even where the code under test is wrong."""
    connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: tuple[str, int]) -> None:
        assert ipaddress.ip_address(address[0]).is_loopback, f"a connection to {address[0]}"
        connect(self, address)

    def guarded_getaddrinfo(host: str, *rest: object, **options: object) -> object:
        assert host == "localhost" or ipaddress.ip_address(host).is_loopback, f"a question for {host}"
        return getaddrinfo(host, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)
