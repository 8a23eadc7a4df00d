"""Starting, stopping, dying and coming back: the real service as an operator meets it."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.pictures import drawing_uri
from tests.running_service import ROOT, RunningService, free_port, fresh_group, wait_gone

# What the task of an operator's patience is: everything stopped this soon after the signal.
STOP_TIMEOUT_S = 10


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_every_part_and_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    with RunningService(tmp_path / "data").starting() as service:
        service.wait_until_answering()
        assert len(shared_memory(tmp_path / "data")) >= 3
        parts = service.descendants()
        assert len(parts) >= 6, "Milvus Lite, Triton and one process per model instance"
        assert {os.sched_getscheduler(pid) for pid in (service.pid, *parts)} == {os.SCHED_BATCH}
        os.kill(service.pid, number)
        assert service.wait(STOP_TIMEOUT_S) == 0
        assert wait_gone(parts, 0.5) == set()
    assert "is ready on" in service.log
    assert f"http://127.0.0.1:{service.port}/docs" in service.log
    assert "Traceback" not in service.log
    assert shared_memory(tmp_path / "data") == set()


def shared_memory(data_dir: Path) -> set[str]:
    """Regions through which the server of this data folder talks to its models."""
    folder = hashlib.sha256(str(data_dir.resolve()).encode()).hexdigest()[:12]
    return {region.name for region in Path("/dev/shm").glob(f"likeness_{folder}_*")}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_while_the_engines_start_leaves_nothing_running(tmp_path: Path, number: signal.Signals) -> None:
    with RunningService(tmp_path / "data").starting() as service:
        service.wait_for_log("Starting Milvus Lite and Triton")
        time.sleep(0.4)  # into the loading of the models
        parts = service.descendants()
        os.kill(service.pid, number)
        assert service.wait(STOP_TIMEOUT_S) == (-9 if number is signal.SIGKILL else 0)
        assert wait_gone(parts, 2) == set()
        assert "Traceback" not in service.log


def test_a_signal_right_after_readiness_is_obeyed(tmp_path: Path) -> None:
    with RunningService(tmp_path / "data").starting() as service:
        service.wait_for_log("is ready on")
        os.kill(service.pid, signal.SIGTERM)
        assert service.wait(STOP_TIMEOUT_S) == 0
        assert "Traceback" not in service.log


def test_kill_9_leaves_nothing_running_and_loses_nothing(tmp_path: Path) -> None:
    with RunningService(tmp_path / "data") as service:
        group = "/v1/image/groups/kept"
        service.call("POST", group, {"config": {"capacity": 100}})
        for seed in range(3):
            image = {"id": f"d{seed}", "uri": drawing_uri(seed), "tag": f"t{seed % 2}", "desc": {"n": seed}}
            assert service.call("POST", f"{group}/add", {"image": image}).status == 200
        service.call("POST", f"{group}/delete", {"ids": ["d1"]})
        listed = service.call("GET", f"{group}/images").body
        parts = service.descendants()
        service.kill()
        assert wait_gone(parts, 15) == set()
        service.start()
        assert service.call("GET", group).body == {"config": {"capacity": 100}, "tags": 1, "count": 2}
        assert service.call("GET", f"{group}/images").body == listed
        found = service.call("POST", f"{group}/search", {"images": [drawing_uri(2)]}).body
        assert found["search_results"][0]["results"][0]["id"] == "d2"
    assert shared_memory(tmp_path / "data") == set(), "the next start cleans up after the kill"


def test_a_triton_that_dies_is_started_again_and_requests_at_work_are_answered_all_the_same(tmp_path: Path) -> None:
    with RunningService(tmp_path / "data") as service, fresh_group(service, "image", "phoenix") as group:
        assert service.call("POST", f"{group}/add", {"image": {"uri": drawing_uri(0)}}).status == 200
        with ThreadPoolExecutor(6) as pool:
            replies = pool.map(
                lambda seed: service.call("POST", f"{group}/add", {"image": {"uri": drawing_uri(seed)}}), range(1, 61)
            )
            first = next(replies)
            kill_program(service, "tritonserver")
            assert {reply.status for reply in (first, *replies)} == {200}
        assert service.call("GET", "/health/ready").status == 200
        assert "Triton stopped" in service.log
        assert "Triton is running again" in service.log
        assert service.call("GET", group).body["count"] == 61


def test_another_model_under_a_group_is_a_409_and_never_a_wrong_score(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(ROOT / "model_repository", repository)
    with RunningService(tmp_path / "data", model_repository=str(repository)) as service:
        add = {"image": {"uri": drawing_uri(1)}}
        with fresh_group(service, "image", "before") as before:
            assert service.call("POST", f"{before}/add", add).status == 200
            config = repository / "image_embedder" / "configs" / "machine.pbtxt"
            text = config.read_text()
            told = re.search(r'key: "model_id"\s+value \{\s+string_value: "([^"]+)"', text)
            assert told is not None
            config.write_text(text.replace(f'"{told[1]}"', '"another-model"'))
            kill_program(service, "tritonserver")
            for call, body in [("add", add), ("search", {"images": [drawing_uri(1)]})]:
                # Not one request may slip through between the death of one model and the news of the other.
                statuses = wait_for(service, "POST", f"{before}/{call}", body, wanted=409)
                assert set(statuses) <= {503, 409}
                reply = service.call("POST", f"{before}/{call}", body)
                assert (reply.status, reply.body["code"]) == (409, "model_mismatch")
                assert "another-model" in reply.body["error"]
            with fresh_group(service, "image", "after") as after:
                assert service.call("POST", f"{after}/add", add).status == 200
            assert service.call("GET", before).body["count"] == 1


def test_a_milvus_that_dies_is_started_again_with_all_of_its_rows(tmp_path: Path) -> None:
    with RunningService(tmp_path / "data") as service, fresh_group(service, "image", "phoenix") as group:
        assert service.call("POST", f"{group}/add", {"image": {"id": "x", "uri": drawing_uri(1)}}).status == 200
        kill_program(service, "milvus")
        statuses = wait_for(service, "POST", f"{group}/search", {"images": [drawing_uri(1)]})
        assert set(statuses) <= {200, 503}
        assert statuses[-1] == 200
        found = service.call("POST", f"{group}/search", {"images": [drawing_uri(1)]}).body
        assert [hit["id"] for hit in found["search_results"][0]["results"]] == ["x"]
        assert service.call("GET", group).body["count"] == 1


def kill_program(service: RunningService, name: str) -> None:
    [pid] = [pid for pid in service.descendants() if Path(f"/proc/{pid}/comm").read_text().strip() == name]
    os.kill(pid, signal.SIGKILL)


def wait_for(service: RunningService, method: str, path: str, body: object, *, wanted: int = 200) -> list[int]:
    """Statuses of repeated calls until one is the wanted one."""
    statuses: list[int] = []
    deadline = time.monotonic() + 60
    while (not statuses or statuses[-1] != wanted) and time.monotonic() < deadline:
        statuses.append(service.call(method, path, body).status)
        time.sleep(0.02)
    return statuses


def test_backends_that_are_down_make_the_service_live_but_not_ready(tmp_path: Path) -> None:
    closed = free_port()
    settings = {"triton_url": f"127.0.0.1:{closed}", "milvus_uri": f"http://127.0.0.1:{closed}"}
    with RunningService(tmp_path / "data", **settings) as service:
        assert service.call("GET", "/health/live").body == {"status": "live"}
        ready = service.call("GET", "/health/ready")
        assert ready.status == 503
        assert ready.body["parts"]["milvus"] == "does not answer"
        assert ready.body["parts"]["triton:face_detector"] == "is not served"
        assert "details" not in ready.body
        for method, path, body in [
            ("GET", "/v1/image/groups", None),
            ("POST", "/v1/image/groups/abc", {"config": {"capacity": 1}}),
            ("POST", "/v1/image/groups/abc/search", {"images": [drawing_uri(1)]}),
        ]:
            reply = service.call(method, path, body)
            assert (reply.status, reply.body["code"]) == (503, "backend_unavailable"), reply
        service.wait_for_log("Requests that need milvus will fail")


def refused(**environment: str) -> str:
    """What a start that cannot go on prints: one line, without a traceback."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LIKENESS_")}
    if "LIKENESS_TEST_TRITON_PYTHON" in os.environ:
        kept["LIKENESS_TRITON_PYTHON"] = os.environ["LIKENESS_TEST_TRITON_PYTHON"]
    started = subprocess.run(
        [sys.executable, "-m", "app", "serve"],
        cwd=ROOT, env=kept | environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert started.returncode == 1
    assert "Traceback" not in started.stderr
    line = started.stderr.strip().splitlines()[-1]
    assert line.startswith("likeness: ")
    assert line.endswith(".")
    return line


def test_a_port_that_is_taken_is_told_before_anything_is_started(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        line = refused(LIKENESS_PORT=str(port), LIKENESS_DATA_DIR=str(tmp_path / "data"))
    assert f"Cannot listen on 127.0.0.1 port {port} (address already in use)" in line
    assert "LIKENESS_PORT" in line
    assert not (tmp_path / "data").exists()


def test_a_port_for_tritons_metrics_that_is_taken_is_told_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        data = str(tmp_path / "data")
        line = refused(LIKENESS_PORT=str(free_port()), LIKENESS_DATA_DIR=data, LIKENESS_TRITON_METRICS_PORT=port)
    assert f"Triton's metrics cannot be shown on port {port} (address already in use)" in line
    assert "LIKENESS_TRITON_METRICS_PORT" in line


def test_a_missing_triton_environment_is_told_with_what_to_do(tmp_path: Path) -> None:
    line = refused(
        LIKENESS_PORT=str(free_port()),
        LIKENESS_DATA_DIR=str(tmp_path / "data"),
        LIKENESS_TRITON_PYTHON=str(tmp_path / "nowhere" / "python"),
    )
    assert "environment of the embedded Triton is missing" in line
    assert "make run" in line


def test_a_data_folder_that_cannot_be_made_is_told_with_what_to_do() -> None:
    line = refused(LIKENESS_PORT=str(free_port()), LIKENESS_DATA_DIR="/proc/nowhere/data")
    assert "The data folder /proc/nowhere/data cannot be made" in line
    assert "LIKENESS_DATA_DIR" in line


def test_no_part_of_the_service_reports_its_use_to_anybody(service: RunningService) -> None:
    # ONNX Runtime does, unless this is set in the processes that load it.
    stubs = [pid for pid in service.descendants() if "triton_python" in Path(f"/proc/{pid}/comm").read_text()]
    assert len(stubs) >= 3
    for pid in stubs:
        assert "ORT_DISABLE_TELEMETRY=1" in Path(f"/proc/{pid}/environ").read_text().split("\0")


def test_a_model_file_with_a_wrong_checksum_is_told_with_what_to_do(tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(ROOT / "model_repository", repository)
    file = repository / "face_embedder" / "1" / "model.onnx"
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)
    line = refused(
        LIKENESS_PORT=str(free_port()),
        LIKENESS_DATA_DIR=str(tmp_path / "data"),
        LIKENESS_MODEL_REPOSITORY=str(repository),
    )
    assert "face_embedder" in line
    assert "checksum" in line
    assert "likeness models build --force" in line


def test_two_services_never_share_a_data_folder(tmp_path: Path, service: RunningService) -> None:
    line = refused(LIKENESS_PORT=str(free_port()), LIKENESS_DATA_DIR=str(service.data_dir))
    assert "is in use by another Likeness" in line
    assert service.call("GET", "/health/ready").status == 200


def test_readiness_tells_which_engine_stores_the_groups_and_how(service: RunningService) -> None:
    ready = service.call("GET", "/health/ready").body
    assert set(ready["parts"].values()) == {"ok"}
    why = "Milvus Lite refuses filters on a partition key."
    assert ready["details"] == {"milvus": {"engine": "Milvus Lite", "partition_keys": {"on": False, "why": why}}}
    assert f"Partition keys are off. {why}" in service.log
