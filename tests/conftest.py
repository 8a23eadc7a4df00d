"""One real service, with its embedded Triton and Milvus, for all service and end-to-end tests of a run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler.loadscope import LoadScopeScheduling

from tests.running_service import RunningService

# Before any test imports ONNX Runtime, which reports its use to its makers unless told not to.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# A test says nothing about time: a busy machine must not fail it.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


# Files that share the fixture ``spread``, a service on two Tritons.
_SPREAD = {"test_several_tritons.py", "test_traces_http.py"}


class Together(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist has no types for it
    """Where several processes share a run, what starts something large stays in one of them."""

    def _split_scope(self, nodeid: str) -> str:
        folder, _, file = nodeid.split("::", maxsplit=1)[0].rpartition("/")
        engine = re.search(r"\[(lite|server|external)\b", nodeid)
        if engine is not None:
            return f"contract on {engine[1]}"
        if file in _SPREAD:
            return "spread"
        return folder if folder.endswith("e2e") else file


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Begins with what waits longest, where another process does the fast ones meanwhile."""
    if hasattr(config, "workerinput"):  # of pytest-xdist: this is one of several
        items.sort(key=lambda item: "[server" not in item.nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Together:
    """pytest-xdist asks for it."""
    return Together(config, log)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """The whole stack on free ports. Images may be fetched from loopback, where the tests serve them."""
    folder = tmp_path_factory.mktemp("likeness")
    with RunningService(folder / "data", fetch_allow_networks="127.0.0.0/8", fetch_first_byte="10") as running:
        yield running
