"""The OpenAPI document tells the truth: its examples pass the schemas that validate, its errors are the tree's."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from app.api.calibration_example import CALIBRATION
from app.api.openapi import openapi_document
from app.api.operations import Operation
from app.api.table import all_operations
from app.errors import LikenessError
from app.services.error_rates import BINS

OPERATIONS = all_operations()
DOCUMENT = json.loads(msgspec.json.encode(openapi_document(OPERATIONS)))


def tree(kind: type[LikenessError] = LikenessError) -> list[type[LikenessError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in tree(child))]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.id)
def test_every_example_passes_the_schema_that_validates(operation: Operation) -> None:
    msgspec.json.decode(msgspec.json.encode(operation.answer_example), type=operation.answer)
    if operation.body is not None:
        msgspec.json.decode(msgspec.json.encode(operation.body_example), type=operation.body)


def test_every_reference_leads_somewhere() -> None:
    schemas = DOCUMENT["components"]["schemas"]

    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    found = references(DOCUMENT)
    assert len(found) > 50
    assert {reference.rpartition("/")[2] for reference in found} <= set(schemas)


def test_the_paths_are_those_of_the_contract() -> None:
    both = ["", "/{name}", "/{name}/remove", "/{name}/delete", "/{name}/images", "/{name}/images/{id}", "/{name}/tags",
            "/{name}/add", "/{name}/update", "/{name}/search", "/{name}/calibrate", "/{name}/export", "/{name}/restore", "/{name}/import"]  # fmt: skip
    expected = {f"/v1/{family}/groups{path}" for family in ("image", "face") for path in both}
    expected |= {f"/v1/face/groups/{path}" for path in ("multi/search", "multi/pts/search")}
    expected |= {f"/v1/face/groups/{{name}}/{call}" for call in ("pts/search", "cluster", "compare")}
    expected |= {
        "/v1/face/detect",
        "/v1/face/verify",
        "/v1/jobs",
        "/v1/jobs/{job}",
        "/v1/jobs/{job}/cancel",
        "/v1/export",
    }
    assert set(DOCUMENT["paths"]) == expected | {"/health/live", "/health/ready", "/metrics"}
    assert set(DOCUMENT["paths"]["/v1/face/groups/{name}"]) == {"get", "post"}


def test_every_operation_has_an_id_of_its_own_a_summary_and_says_what_can_go_wrong() -> None:
    operations = [operation for path in DOCUMENT["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == len(OPERATIONS)
    assert all(operation["summary"] for operation in operations)
    for operation in operations:
        if operation["tags"] != ["Health"]:
            assert {"500", "503"} <= set(operation["responses"])
            assert {"200", "202"} & set(operation["responses"])
        if "requestBody" in operation:
            assert {"400", "413", "429"} <= set(operation["responses"])


def test_every_error_has_a_code_of_its_own_and_a_status_that_the_contract_knows() -> None:
    kinds = tree()
    codes = [kind.code for kind in kinds if kind is not LikenessError]
    assert len(set(codes)) == len(codes)
    assert {kind.status for kind in kinds} <= {
        400,
        401,
        403,
        404,
        405,
        408,
        409,
        413,
        415,
        429,
        499,
        500,
        502,
        503,
        504,
    }
    assert all(kind.__doc__ for kind in kinds)


def test_a_description_may_be_any_json_value_in_the_document_too() -> None:
    described = DOCUMENT["components"]["schemas"]["Image"]["properties"]["desc"]
    assert "type" not in described
    assert "64 KiB" in described["description"]


def test_the_calibration_that_is_shown_adds_up() -> None:
    for kind, matches in (("same", "true_matches"), ("different", "false_matches")):
        scores = CALIBRATION[kind]
        assert sum(scores["histogram"]) == scores["pairs"]
        for each in CALIBRATION["thresholds"]:
            assert each[matches] == sum(scores["histogram"][round(each["threshold"] * BINS) :])
