"""A second service, with limits that are soon reached, for the tests of imports and of whole groups."""

from __future__ import annotations

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
