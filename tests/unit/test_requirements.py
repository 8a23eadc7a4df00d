"""The requirement files are pinned, hashed, alike where they overlap, and name no place."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
FILES = ["requirements/service.txt", "requirements/dev.txt", "triton/requirements.txt"]
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")


def lines(file: str) -> list[str]:
    """The file's requirements, one string each, without comments."""
    text = (ROOT / file).read_text()
    kept = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    return [line.strip() for line in "\n".join(kept).replace("\\\n", " ").splitlines() if line.strip()]


def pins(file: str) -> dict[str, Version]:
    """Name to version, failing on anything that is not one exact version."""
    found: dict[str, Version] = {}
    for line in lines(file):
        requirement = Requirement(line.split(" --hash", 1)[0])
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", line
        assert canonicalize_name(requirement.name) not in found, f"{requirement.name} has two pins in {file}"
        found[canonicalize_name(requirement.name)] = Version(specifier.version)
    return found


def declared(*extras: str) -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = [line for extra in extras for line in project["optional-dependencies"][extra]]
    return [Requirement(line) for line in [*project["dependencies"], *optional]]


@pytest.mark.parametrize("file", FILES)
def test_every_requirement_has_a_hash(file: str) -> None:
    assert lines(file)
    for line in lines(file):
        requirement, *hashes = re.split(r"\s+(?=--hash)", line)
        assert hashes, requirement
        assert all(HASH.fullmatch(text) for text in hashes), requirement


@pytest.mark.parametrize("file", FILES)
def test_no_file_names_an_index_a_host_or_a_path(file: str) -> None:
    text = (ROOT / file).read_text()
    assert "://" not in text
    assert not [line for line in lines(file) if line.startswith(("-", "/", ".")) or " @ " in line]
    assert not re.search(r"(?<!\w)/(?:\w+/)+", text)


@pytest.mark.parametrize("file", FILES)
def test_every_pin_is_one_version_for_all_pythons(file: str) -> None:
    assert len(pins(file)) == len(lines(file))


def test_the_development_file_holds_the_services_pins() -> None:
    service, dev = pins("requirements/service.txt"), pins("requirements/dev.txt")
    assert {name: dev.get(name) for name in service} == service


@pytest.mark.parametrize(
    ("file", "extras"), [("requirements/service.txt", ()), ("requirements/dev.txt", ("dev",))], ids=["service", "dev"]
)
def test_every_declared_dependency_is_pinned_within_its_bounds(file: str, extras: tuple[str, ...]) -> None:
    pinned = pins(file)
    for requirement in declared(*extras):
        version = pinned.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is missing from {file}: run `make requirements`"
        assert version in requirement.specifier, f"{requirement.name} {version}: run `make requirements`"


def test_triton_has_numpy_1_and_the_service_numpy_2() -> None:
    # With NumPy 2 the server's Python backend returns empty tensors without any error.
    assert pins("triton/requirements.txt")["numpy"] < Version("2")
    assert pins("requirements/service.txt")["numpy"] >= Version("2")


def test_tests_and_triton_run_models_with_the_same_onnx_runtime() -> None:
    assert pins("triton/requirements.txt")["onnxruntime"] == pins("requirements/dev.txt")["onnxruntime"]


def test_no_pin_is_a_framework_of_gigabytes() -> None:
    assert not {"torch", "tensorflow", "jax"} & pins("requirements/dev.txt").keys()
