"""Every operation says who may call it, and which groups its body names."""

from __future__ import annotations

import re
import typing
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from app.access.exposure import is_loopback, keys_are_asked_for, refuse_unsafe_start
from app.access.key import KeyRole, new_key
from app.access.key_file import KeyFile
from app.api.openapi import openapi_document
from app.api.operations import Operation, names_no_group
from app.api.table import all_operations
from app.config import Settings
from app.errors import OperatorError

OPERATIONS = all_operations()
WRITES = {"create", "add", "update", "delete", "cluster", "import", "cancel"}
ADMIN = {"remove", "export", "restore"}


def verb(operation: Operation) -> str:
    found = re.match(r"[a-z]+", operation.id)
    assert found is not None
    return found[0]


def test_operations_that_change_something_need_more_than_reading_and_only_health_is_open() -> None:
    for operation in OPERATIONS:
        name = verb(operation)
        expected = KeyRole.ADMIN if name in ADMIN else KeyRole.WRITE if name in WRITES else KeyRole.READ
        assert operation.role == (None if operation.path.startswith("/health/") else expected), operation.id


def test_every_group_in_a_path_or_a_body_is_checked() -> None:
    for operation in OPERATIONS:
        if "{name}" in operation.path:
            assert operation.family in {"face", "image"}, operation.id
        body: Any = operation.body
        fields = {} if body is None else typing.get_type_hints(body)
        named = [name for name in fields if "group" in name]
        assert (operation.groups_in_body is not names_no_group) == bool(named), operation.id
        if named:
            sent = msgspec.json.decode(msgspec.json.encode(operation.body_example), type=body)
            told = {group.name for group in operation.groups_in_body(sent)}
            example = operation.body_example
            wanted = [example[name] for name in named if name in example]
            assert told == {each for value in wanted for each in ([value] if isinstance(value, str) else value)}


def test_the_document_says_which_operations_need_a_key() -> None:
    document = openapi_document(OPERATIONS)
    schemes = set(document["components"]["securitySchemes"])
    for operation in OPERATIONS:
        told = document["paths"][operation.path][operation.method.lower()]
        assert {name for each in told["security"] for name in each} == (schemes if operation.role else set())
        assert ({"401", "403", "429"} <= set(told["responses"])) == (operation.role is not None)


@pytest.mark.parametrize(
    ("host", "keys", "asked"),
    [("127.0.0.1", "auto", False), ("::1", "auto", False), ("localhost", "auto", False), ("127.9.9.9", "auto", False),
     ("0.0.0.0", "auto", True), ("::", "auto", True), ("192.0.2.7", "auto", True), ("box.lan", "auto", True),
     ("0.0.0.0", "off", False), ("127.0.0.1", "required", True)],
)  # fmt: skip
def test_keys_are_asked_for_off_loopback_unless_somebody_says_otherwise(host: str, keys: str, asked: bool) -> None:
    assert keys_are_asked_for(replace(Settings(), host=host, keys=keys)) == asked
    if keys == "auto":
        assert is_loopback(host) != asked


def test_a_start_that_nobody_could_use_or_anybody_could_is_refused_with_a_sentence(tmp_path: Path) -> None:
    settings = replace(Settings(), host="0.0.0.0", data_dir=tmp_path)
    with pytest.raises(OperatorError, match=r"0\.0\.0\.0, .* `likeness keys create`, or set LIKENESS_KEYS=off"):
        refuse_unsafe_start(settings)
    refuse_unsafe_start(replace(settings, keys="off"))
    key, _ = new_key("door", KeyRole.READ, ["*"])
    KeyFile(settings.keys_path).change(lambda keys: keys.update({key.id: key}))
    refuse_unsafe_start(settings)
    settings.keys_path.chmod(0o606)
    with pytest.raises(OperatorError, match="chmod o-w"):
        refuse_unsafe_start(settings)
    settings.keys_path.write_text("{")
    with pytest.raises(OperatorError, match="cannot be read"):
        refuse_unsafe_start(settings)
