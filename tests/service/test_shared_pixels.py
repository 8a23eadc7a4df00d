"""Pixels reach the embedded Triton through memory that both have mapped."""

from __future__ import annotations

from pathlib import Path

from tritonclient.grpc import InferenceServerClient

from loadtest.bench.processor_time import triton_url
from tests.pictures import drawing_uri
from tests.running_service import RunningService, fresh_group


def test_an_image_reaches_the_embedded_triton_through_shared_memory_that_has_no_name(service: RunningService) -> None:
    client = InferenceServerClient(triton_url(service.descendants()))
    with fresh_group(service, "face", "shared-pixels") as group:
        assert service.call("POST", f"{group}/search", {"images": [drawing_uri(1)]}).status == 200
    regions = client.get_system_shared_memory_status().regions
    ours = [name for name in regions if name.startswith("likeness-")]
    assert ours
    assert [name for name in ours if (Path("/dev/shm") / name).exists()] == []
    client.close()
