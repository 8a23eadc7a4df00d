"""deploy/: rendered by Kustomize where it is there, valid by Kubernetes' schemas, and true to what it promises."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from app import __version__
from app.config import Settings

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "deploy/kubernetes"
DEFINITIONS = json.loads((ROOT / "tests/schemas/kubernetes.json").read_text())["definitions"]
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
KUBECTL = shutil.which("kubectl")
GROUPS = {"v1": "core.v1", "autoscaling/v2": "autoscaling.v2", "networking.k8s.io/v1": "networking.v1"}
# What other people's operators define; their fields are checked here by hand.
FOREIGN = {
    "ScaledObject": ("keda.sh/v1alpha1", {"scaleTargetRef", "triggers"}),
    "ServiceMonitor": ("monitoring.coreos.com/v1", {"selector", "endpoints"}),
}

Manifest = dict[str, Any]


def read(path: Path) -> list[Manifest]:
    return [each for each in yaml.safe_load_all(path.read_text()) if each is not None]


FILES = sorted(path for path in FOLDER.rglob("*.yaml") if path.name != "kustomization.yaml")
ALL = [manifest for path in FILES for manifest in read(path)]
BASE = {
    (each["kind"], each["metadata"]["name"]): each
    for path in FILES
    if path.parent.name == "base"
    for each in read(path)
}


def faults(manifest: Manifest) -> list[str]:
    kind, version = manifest["kind"], manifest["apiVersion"]
    if kind in FOREIGN:
        known, needed = FOREIGN[kind]
        return [] if version == known and needed <= manifest["spec"].keys() else [f"{kind} {version}"]
    group = GROUPS.get(version, version.replace("/", "."))
    schema = {"$ref": f"#/definitions/io.k8s.api.{group}.{kind}", "definitions": DEFINITIONS}
    return [
        f"{kind}: {error.json_path} {error.message}" for error in Draft202012Validator(schema).iter_errors(manifest)
    ]


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    return {
        each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in manifests if each["kind"] == "Deployment"
    }


def containers(pod: Manifest) -> list[Manifest]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def test_every_manifest_follows_the_schemas_of_kubernetes() -> None:
    assert len(ALL) >= 15
    assert [fault for manifest in ALL for fault in faults(manifest)] == []


def test_the_schemas_refuse_what_is_misspelt_or_missing() -> None:
    wrong = json.loads(json.dumps(BASE["Deployment", "likeness"]))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    del wrong["spec"]["selector"]
    assert len(faults(wrong)) == 2


def test_every_file_is_named_by_the_kustomization_beside_it() -> None:
    for kustomization in FOLDER.rglob("kustomization.yaml"):
        [content] = read(kustomization)
        named = [*content.get("resources", []), *content.get("components", [])]
        assert [name for name in named if not (kustomization.parent / name).exists()] == []
        beside = {path.name for path in kustomization.parent.glob("*.yaml")} - {"kustomization.yaml"}
        assert beside == {name for name in named if name.endswith(".yaml")}, kustomization


@pytest.mark.skipif(KUBECTL is None, reason="no kubectl on this machine")
@pytest.mark.parametrize("overlay", ["cpu", "gpu"])
def test_the_overlays_render_to_valid_manifests(overlay: str) -> None:
    rendered = render(FOLDER / "overlays" / overlay)
    assert [fault for manifest in rendered for fault in faults(manifest)] == []
    triton = pods(rendered)["triton"]
    assert ("nvidia.com/gpu" in triton["containers"][0]["resources"]["limits"]) == (overlay == "gpu")
    assert triton["initContainers"][0]["image"] == f"likeness-models:{__version__}-{overlay}"
    scaled = {each["spec"]["scaleTargetRef"]["name"] for each in rendered if each["kind"] == "ScaledObject"}
    [deployment] = [each for each in rendered if each["kind"] == "Deployment" and each["metadata"]["name"] == "triton"]
    assert scaled == ({"triton"} if overlay == "gpu" else set())
    assert ("replicas" in deployment["spec"]) == (overlay == "cpu"), "one of them decides, not both"


@pytest.mark.skipif(KUBECTL is None, reason="no kubectl on this machine")
def test_several_replicas_share_no_folder_and_are_scaled(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    overlay = tmp_path / "kubernetes/overlays/cpu/kustomization.yaml"
    overlay.write_text(overlay.read_text() + "components: [../../components/several-replicas]\n")
    rendered = render(overlay.parent)
    assert [fault for manifest in rendered for fault in faults(manifest)] == []
    kinds = {(each["kind"], each["metadata"]["name"]) for each in rendered}
    assert {("HorizontalPodAutoscaler", "likeness"), ("PodDisruptionBudget", "likeness")} <= kinds
    assert ("PersistentVolumeClaim", "likeness-data") not in kinds
    [data] = [each["data"] for each in rendered if each["kind"] == "ConfigMap"]
    locks = Settings.from_environment({"LIKENESS_LOCKS": data["LIKENESS_LOCKS"]}).locks
    assert locks.startswith("redis://"), "replicas on several machines take turns there"
    assert "persistentVolumeClaim" not in json.dumps(pods(rendered)["likeness"]["volumes"])


def render(folder: Path) -> list[Manifest]:
    assert KUBECTL is not None
    done = subprocess.run([KUBECTL, "kustomize", folder], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def test_pods_are_as_restricted_as_their_namespace_demands() -> None:
    assert BASE["Namespace", "likeness"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods(ALL).values():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]


def test_images_are_those_of_the_compose_file() -> None:
    found = pods(ALL)
    assert found["likeness"]["containers"][0]["image"] == COMPOSE["likeness"]["image"]
    assert found["triton"]["containers"][0]["image"] == COMPOSE["triton-gpu"]["image"]
    assert found["triton"]["containers"][0]["command"] == COMPOSE["triton-gpu"]["command"]
    values = yaml.safe_load((ROOT / "deploy/milvus/values.yaml").read_text())["image"]["all"]
    assert f"{values['repository']}:{values['tag']}" == COMPOSE["milvus"]["image"]


def test_probes_ask_what_the_servers_answer() -> None:
    paths = {
        "likeness": {
            "startupProbe": "/health/live",
            "livenessProbe": "/health/live",
            "readinessProbe": "/health/ready",
        },
        "triton": dict.fromkeys(("startupProbe", "readinessProbe"), "/v2/health/ready")
        | {"livenessProbe": "/v2/health/live"},
    }
    for name, pod in pods(ALL).items():
        [container] = pod["containers"]
        ports = {port["name"] for port in container["ports"]}
        for probe, path in paths[name].items():
            assert container[probe]["httpGet"]["path"] == path
            assert container[probe]["httpGet"]["port"] in ports


def test_the_settings_are_the_services_own(tmp_path: Path) -> None:
    data = BASE["ConfigMap", "likeness-settings"]["data"]
    token = tmp_path / "token"
    token.write_text("root:secret")
    settings = Settings.from_environment(data | {"LIKENESS_MILVUS_TOKEN_FILE": str(token)})
    pod = pods(ALL)["likeness"]
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] >= pause + settings.shutdown_timeout + 10
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert data["LIKENESS_MILVUS_TOKEN_FILE"] == f"{mounts['milvus']}/token"
    # Else Kubernetes would set LIKENESS_PORT to the address of the Service of that name.
    assert pod["enableServiceLinks"] is False
    budgets = settings.body_memory + settings.decode_memory + settings.fetch_memory + settings.compare_memory
    assert int(pod["containers"][0]["resources"]["limits"]["memory"].removesuffix("Gi")) * 2**30 > 1.25 * budgets
    text = (FOLDER / "base/settings.yaml").read_text()
    assert "COORDINATION OF SEVERAL REPLICAS GOES HERE" in text
    unknown = set(re.findall(r"LIKENESS_\w+", text)) - {f"LIKENESS_{name.upper()}" for name in Settings.__slots__}
    assert {name.removesuffix("_FILE") for name in unknown} <= {"LIKENESS_MILVUS_TOKEN"}


def test_one_replica_writes_until_there_is_coordination() -> None:
    spec = BASE["Deployment", "likeness"]["spec"]
    assert (spec["replicas"], spec["strategy"]["type"]) == (1, "Recreate")
    assert not [kind for kind, name in BASE if kind == "HorizontalPodAutoscaler"]
    for overlay in ("cpu", "gpu"):
        assert "several-replicas" not in (FOLDER / "overlays" / overlay / "kustomization.yaml").read_text()


def test_nothing_is_reached_but_what_a_policy_names() -> None:
    policies = {name: each["spec"] for (kind, name), each in BASE.items() if kind == "NetworkPolicy"}
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    open_ports = {
        name: {port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]}
        for name, spec in policies.items()
    }
    assert open_ports == {"nothing": set(), "likeness": {8000}, "triton": {8001, 8002}}
    assert "egress" not in policies["triton"]
    selected = {
        spec["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
        for spec in policies.values()
        if spec["podSelector"]
    }
    assert selected == set(pods(ALL))


def test_selectors_find_the_pods_that_they_are_for() -> None:
    labels = {
        name: each["spec"]["template"]["metadata"]["labels"]
        for (kind, name), each in BASE.items()
        if kind == "Deployment"
    }
    for each in ALL:
        name, spec = each["metadata"]["name"], each.get("spec", {})
        if each["kind"] == "Service":
            assert spec["selector"] == labels[name]
        elif each["kind"] in {"Deployment", "PodDisruptionBudget", "ServiceMonitor"}:
            assert spec["selector"]["matchLabels"] == labels[name]
        elif each["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"}:
            assert spec["scaleTargetRef"]["name"] in labels
    paths = [path for rule in BASE["Ingress", "likeness"]["spec"]["rules"] for path in rule["http"]["paths"]]
    assert {path["path"] for path in paths} == {"/v1", "/docs", "/openapi.json"}, "health and metrics stay inside"
    assert {path["backend"]["service"]["name"] for path in paths} == {"likeness"}
