"""Traces of a service's requests, as a collector gets them."""

from __future__ import annotations

import time

from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.collector import Collector, attributes
from tests.pictures import drawing_uri
from tests.running_service import fresh_group
from tests.spread_service import Spread

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = "00f067aa0ba902b7"


def delivered(collector: Collector, trace: str, *, root: str) -> list[Span]:
    """The spans of a trace, once the request's own, which ends last, has come."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        spans = [span for span in collector.spans if span.trace_id.hex() == trace]
        if any(span.name == root for span in spans):
            return spans
        time.sleep(0.05)
    message = f"{root} was not delivered"
    raise AssertionError(message)


def test_a_request_is_traced_with_its_stages_and_its_calls_and_nothing_of_what_it_holds(spread: Spread) -> None:
    service, collector = spread.service, spread.collector
    with fresh_group(service, "image", "secretive") as group:
        image = {"id": "secret-id", "uri": drawing_uri(1), "tag": "secret-tag", "desc": {"secret": "desc"}}
        headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
        assert service.call("POST", f"{group}/add", {"image": image}, headers=headers).status == 200
        root = "POST /v1/image/groups/{name}/add"
        spans = {span.name: span for span in delivered(collector, TRACE, root=root)}
        assert set(spans) == {root, "fetch", "decode", "embed", "triton image_embedder"} | set(spans) & {"search"}
        request = spans.pop(root)
        assert request.parent_span_id.hex() == PARENT
        assert attributes(request) == {
            "http.request.method": "POST",
            "http.route": "/v1/image/groups/{name}/add",
            "http.response.status_code": 200,
        }
        for span in spans.values():
            assert span.parent_span_id == request.span_id
            assert request.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
            assert span.end_time_unix_nano <= request.end_time_unix_nano
        call = attributes(spans["triton image_embedder"])
        assert call.pop("server.address") in {spread.first, spread.second.url}
        assert call == {"likeness.model": "image_embedder", "likeness.batch": 1}

        missing = service.call(
            "GET", f"{group}/images/secret-id-2?tag=secret", headers={"traceparent": f"00-{TRACE[::-1]}-{PARENT}-01"}
        )
        assert missing.status == 404
        [span] = delivered(collector, TRACE[::-1], root="GET /v1/image/groups/{name}/images/{id}")
        assert attributes(span)["http.response.status_code"] == 404
        assert not [body for body in collector.deliveries if b"secret" in body or b"base64" in body]
        assert not [span.name for span in collector.spans if "/health" in span.name]
