"""One real service, with its embedded Triton and Milvus, for all service and end-to-end tests of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.running_service import RunningService

# Before any test imports ONNX Runtime, which reports its use to its makers unless told not to.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

# A test says nothing about time: a busy machine must not fail it.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Says which tests stay together where several processes share the run: what starts something large once."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_together(item)))


def _together(item: pytest.Item) -> str:
    kind, file = item.path.parent.name, item.path.stem
    if "spread" in getattr(item, "fixturenames", ()):
        return "spread"
    if kind == "contract":
        parameters = getattr(item, "callspec", None)
        engine = parameters.params.get("engine") if parameters is not None else None
        return f"contract on {engine}" if engine else file
    return kind if kind == "e2e" else file


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """The whole stack on free ports. Images may be fetched from loopback, where the tests serve them."""
    folder = tmp_path_factory.mktemp("likeness")
    with RunningService(folder / "data", fetch_allow_networks="127.0.0.0/8") as running:
        yield running
