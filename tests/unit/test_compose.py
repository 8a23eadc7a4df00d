"""compose.yaml and the Dockerfile: valid by the specification's schema, and true to the project and to what they promise."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from app import __version__
from app.cli import _parser
from app.config import Settings

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((ROOT / "tests/schemas/compose-spec.json").read_text())
FILES = ["compose.yaml", "deploy/compose/grafana.yaml"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
LASTING = {name: service for name, service in SERVICES.items() if service["restart"] != "no"}
DOCKERFILE = (ROOT / "Dockerfile").read_text()
PINNED = re.compile(r"[\w./-]+:v?(?:RELEASE\.)?\d[\w.-]*\d[\w-]*(?:@sha256:[0-9a-f]{64})?")
SECONDS = re.compile(r"(\d+)s")


@pytest.mark.parametrize("file", FILES)
def test_the_compose_files_follow_the_specification(file: str) -> None:
    found = yaml.safe_load((ROOT / file).read_text())
    assert [error.message for error in Draft202012Validator(SCHEMA).iter_errors(found)] == []


def test_the_schema_refuses_what_is_misspelt() -> None:
    wrong = {"services": {"likeness": {"image": "likeness:1.0.0", "helthcheck": {}}}}
    assert len(list(Draft202012Validator(SCHEMA).iter_errors(wrong))) == 1


def test_every_image_has_a_version() -> None:
    images = {service["image"] for service in SERVICES.values()}
    images |= {name for name in re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) if name != "service"}
    assert [image for image in images if not PINNED.fullmatch(image)] == []
    assert f"likeness:{__version__}" in images
    assert not PINNED.fullmatch("grafana/grafana:latest")
    assert not PINNED.fullmatch("prom/prometheus")


def test_nothing_more_is_granted_than_is_needed() -> None:
    for name, service in SERVICES.items():
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert {"privileged", "cap_add", "network_mode", "pid", "devices"} & service.keys() == set(), name
    roots = {name for name, service in SERVICES.items() if int(service.get("user", "0").partition(":")[0]) == 0}
    assert roots == {"milvus", "etcd", "minio"}, "whose images can do with no other user"
    writable = {name for name, service in SERVICES.items() if not service.get("read_only")}
    assert writable == {"milvus", "minio"}
    assert re.search(r"^USER 10001:10001$", DOCKERFILE, re.MULTILINE)


def test_whatever_keeps_running_has_a_health_check_and_waits_for_what_it_needs() -> None:
    assert set(SERVICES) - set(LASTING) == {"models"}
    for name, service in LASTING.items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        for needed, how in service.get("depends_on", {}).items():
            wanted = "service_healthy" if needed in LASTING else "service_completed_successfully"
            assert how["condition"] == wanted, (name, needed)


def test_the_service_gets_longer_to_stop_than_it_takes() -> None:
    service = SERVICES["likeness"]
    grace = SECONDS.fullmatch(service["stop_grace_period"])
    assert grace is not None
    assert int(grace[1]) >= float(service["environment"]["LIKENESS_SHUTDOWN_TIMEOUT"]) + 5


def test_the_service_has_memory_for_all_of_its_budgets() -> None:
    settings = Settings()
    budgets = settings.body_memory + settings.decode_memory + settings.fetch_memory + settings.compare_memory
    limit = re.fullmatch(r"(\d+)g", SERVICES["likeness"]["mem_limit"])
    assert limit is not None
    assert int(limit[1]) * 2**30 > 1.25 * budgets


def test_every_setting_of_the_containers_is_one_of_the_services(tmp_path: Path) -> None:
    image = dict(re.findall(r"(LIKENESS_\w+)=(\S+)", DOCKERFILE))
    given = SERVICES["likeness"]["environment"]
    token = tmp_path / "token"
    token.write_text("root:secret")
    settings = Settings.from_environment(image | given | {"LIKENESS_MILVUS_TOKEN_FILE": str(token)})
    assert settings.host == "0.0.0.0"
    assert not settings.embedded_triton
    assert not settings.embedded_milvus
    assert "LIKENESS_MILVUS_TOKEN" not in given, "a secret is no part of the environment"
    mounted = {volume.split(":")[1] for volume in SERVICES["likeness"]["volumes"] + SERVICES["models"]["volumes"]}
    assert {str(settings.data_dir), str(settings.model_repository), str(settings.cache_dir)} == mounted


def test_only_the_api_is_published_and_only_on_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"likeness": ["127.0.0.1:8000:8000"]}
    assert COMPOSE["networks"]["back"] == {"internal": True}
    outside = {name for name, service in SERVICES.items() if "front" in service["networks"]}
    assert outside == {"likeness", "models"}


def test_every_file_that_is_mounted_exists_and_every_volume_is_declared() -> None:
    used: set[str] = set()
    for name, service in SERVICES.items():
        for source, target in (volume.split(":")[:2] for volume in service.get("volumes", [])):
            if source.startswith("."):
                assert (ROOT / source).exists(), (name, source)
                for option in service.get("command", []):
                    path = option.partition("=")[2]
                    if path.startswith(target + "/"):
                        assert (ROOT / source / path.removeprefix(target + "/")).is_file(), (name, option)
            else:
                used.add(source)
    assert used == set(COMPOSE["volumes"])


def test_prometheus_asks_the_containers_for_their_metrics() -> None:
    for name, port in (("likeness", "8000"), ("triton", "8002")):
        [group] = yaml.safe_load((ROOT / f"deploy/compose/targets/{name}.yml").read_text())
        assert group["targets"] == [f"{name}:{port}"]
    assert "--metrics-port=8002" in SERVICES["triton-gpu"]["command"]
    assert SERVICES["grafana"]["environment"]["PROMETHEUS_URL"] == "http://prometheus:9090"


def test_the_commands_of_the_containers_are_ours() -> None:
    options = _parser().parse_args([*SERVICES["models"]["command"][:-1], "cpu"])
    assert options.target == "cpu"
    profiles = {profile for service in SERVICES.values() for profile in service.get("profiles", [])}
    assert profiles == {"cpu", "gpu"}
    assert SERVICES["models"]["command"][-1].startswith("${COMPOSE_PROFILES:?")
    _parser().parse_args(json.loads(re.findall(r"^CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)[0]))


def test_one_triton_is_told_from_the_other_by_its_devices_alone() -> None:
    gpu, cpu = SERVICES["triton-gpu"], SERVICES["triton-cpu"]
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    differ = {key for key in gpu.keys() | cpu.keys() if gpu.get(key) != cpu.get(key)}
    assert differ == {"profiles", "deploy", "ulimits"}
    assert cpu["networks"] == {"back": {"aliases": ["triton"]}}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """The folder of secrets that the script makes."""
    script = tmp_path / "deploy/compose/make-secrets.sh"
    script.parent.mkdir(parents=True)
    shutil.copy(ROOT / "deploy/compose/make-secrets.sh", script)
    subprocess.run([script], check=True, capture_output=True, timeout=60)
    again = subprocess.run([script], capture_output=True, text=True, timeout=60)
    assert again.returncode == 1
    assert "is there already" in again.stderr
    return tmp_path / "secrets"


def test_every_secret_is_made_and_none_is_in_the_repository_or_the_environment(made: Path) -> None:
    assert {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()} == {f.name for f in made.iterdir()}
    assert stat.S_IMODE(made.stat().st_mode) == 0o700
    texts = {path.name: path.read_text() for path in made.iterdir()}
    config = yaml.safe_load(texts["milvus.yaml"])
    assert texts["milvus_token"] == f"root:{config['common']['security']['defaultRootPassword']}"
    assert config["minio"] == {"accessKeyID": texts["minio_user"], "secretAccessKey": texts["minio_password"]}
    passwords = [
        texts["milvus_token"].partition(":")[2],
        *(texts[name] for name in ("minio_user", "minio_password", "grafana_password")),
    ]
    assert len(set(passwords)) == 4
    assert {len(password) for password in passwords} == {32}
    ignored = (ROOT / ".gitignore").read_text().splitlines()
    assert {"/secrets/", "/.env"} <= set(ignored)
    for service in SERVICES.values():
        for variable, value in service.get("environment", {}).items():
            assert not re.search("PASSWORD|SECRET|TOKEN", variable) or value.startswith("/run/secrets/"), variable


def test_the_builder_is_sent_only_what_the_dockerfile_copies() -> None:
    copied = {
        word for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE) for word in line.split()
    }
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sent == copied
    assert [word for word in copied if not (ROOT / word).exists()] == []
    assert os.access(ROOT / "deploy/compose/make-secrets.sh", os.X_OK)
