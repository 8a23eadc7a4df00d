"""The service with the environment that compose.yaml gives it, beside a Triton and a Milvus that are not its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.pictures import drawing_uri
from tests.running_service import ROOT, RunningService, fresh_group

GIVEN: dict[str, str] = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["likeness"]["environment"]


DECODER = "import sys; sys.path.insert(0, sys.argv[1]); from app.decoding import child; child.main()"


def command(pid: int) -> list[str]:
    """The command line of a process."""
    return Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0").split("\0")


def arguments(service: RunningService, program: str) -> list[str]:
    """The command line of one of the service's programs."""
    for pid in service.descendants():
        words = command(pid)
        if Path(words[0]).name == program:
            return words
    message = f"{program} does not run"
    raise AssertionError(message)


def test_with_servers_named_nothing_is_started_and_only_the_data_folder_is_written(
    tmp_path: Path, service: RunningService
) -> None:
    [port] = [word.partition("=")[2] for word in arguments(service, "tritonserver") if word.startswith("--grpc-port=")]
    [socket] = [word for word in arguments(service, "milvus") if word.startswith("unix:")]
    token = tmp_path / "token"
    token.write_text("root:none is asked for by this Milvus")
    elsewhere = {
        "LIKENESS_TRITON_URL": f"127.0.0.1:{port}",
        "LIKENESS_MILVUS_URI": socket,
        "LIKENESS_MILVUS_TOKEN_FILE": str(token),
    }
    assert elsewhere.keys() <= GIVEN.keys()
    settings: dict[str, Any] = {
        name.removeprefix("LIKENESS_").lower(): value for name, value in (GIVEN | elsewhere).items()
    }
    with (
        RunningService(tmp_path / "data", milvus_prefix="compose", **settings) as composed,
        fresh_group(composed, "image", "composed") as group,
    ):
        assert composed.call("GET", "/health/ready").status == 200
        assert composed.call("POST", f"{group}/add", {"image": {"id": "x", "uri": drawing_uri(1)}}).status == 200
        found = composed.call("POST", f"{group}/search", {"images": [drawing_uri(1)]}).body
        assert [hit["id"] for hit in found["search_results"][0]["results"]] == ["x"]
        assert {command(pid)[-5] for pid in composed.descendants()} == {DECODER}
        assert composed.stop() == 0
        composed.start()
        assert composed.call("GET", group).body["count"] == 1
    kept = {"imports", "audit.jsonl", "audit.key"}
    assert {path.name for path in (tmp_path / "data").iterdir()} <= kept
