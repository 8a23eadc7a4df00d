"""A service whose disk is full: clear 503s, imports that wait, and everything as before once there is room again."""

from __future__ import annotations

import json
import time

from tests.full_disk import no_room
from tests.pictures import drawing_uri
from tests.running_service import Reply, RunningService, fresh_group


def imported(service: RunningService, group: str, *ids: str) -> Reply:
    lines = [json.dumps({"image": {"id": each, "uri": drawing_uri(1)}}) for each in ids]
    return service.call("POST", f"{group}/import", raw="\n".join(lines).encode())


def test_what_cannot_be_written_down_is_a_503_and_an_import_under_way_waits_for_room(narrow: RunningService) -> None:
    with fresh_group(narrow, "image", "full-disk") as group:
        add = {"image": {"id": "kept", "uri": drawing_uri(1)}}
        assert narrow.call("POST", f"{group}/add", add).status == 200
        job = imported(narrow, group, "a", "b", "c", "d", "e", "f").body["job"]
        with no_room(pid=narrow.pid):
            refused = imported(narrow, group, "x")
            assert (refused.status, refused.body["code"]) == (503, "out_of_resources"), refused
            # The limit is one on memory for decoders as well.
            update = narrow.call("POST", f"{group}/update", add)
            assert (update.status, update.body["code"] in ("out_of_resources", "backend_unavailable")) == (503, True)
            assert all(int(reply.headers["Retry-After"]) > 0 for reply in (refused, update))
            assert narrow.call("GET", f"/v1/jobs/{job}").body["state"] in ("running", "waiting")
        assert narrow.call("POST", f"{group}/update", add).status == 200
        while (report := narrow.call("GET", f"/v1/jobs/{job}").body)["state"] in ("waiting", "running"):
            time.sleep(0.05)
        assert (report["state"], report["done"], report["failed"]) == ("done", 6, 0)
        assert narrow.call("GET", group).body["count"] == 7
    assert "Traceback" not in narrow.log
