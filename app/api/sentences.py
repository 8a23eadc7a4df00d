"""Says in plain words what msgspec found wrong with a body."""

from __future__ import annotations

import re

_MISSING = re.compile(r"Object missing required field `(?P<field>\w+)`(?: - at `\$(?P<path>[^`]*)`)?")
_WRONG_TYPE = re.compile(r"Expected `(?P<wanted>[^`]+)`, got `(?P<found>\w+)`(?: - at `\$(?P<path>[^`]*)`)?")
_BOUND = re.compile(
    r"Expected `(?P<kind>[^`]+)` (?P<bound>[<>]=?|of length [<>]=?) ?(?P<value>[\d.]+)(?: - at `\$(?P<path>[^`]*)`)?"
)
_OTHER = re.compile(r"(?P<what>.*?)(?: - at `\$(?P<path>[^`]*)`)?$")
_BOUNDS = {">=": "at least", ">": "more than", "<=": "at most", "<": "less than"}
_NOUNS = {
    "str": "a string", "int": "a whole number", "float": "a number", "bool": "true or false",
    "object": "an object", "array": "an array", "null": "null",
}  # fmt: skip


def sentence(problem: str) -> str:
    """The sentence for a message of msgspec's ``ValidationError``."""
    if found := _MISSING.match(problem):
        return f"{_field(found['path'], found['field'])} is missing."
    if found := _WRONG_TYPE.match(problem):
        wanted = [_NOUNS.get(kind, kind) for kind in found["wanted"].split(" | ") if kind != "null"]
        return f"{_field(found['path'])} must be {' or '.join(wanted)}, and it is {_NOUNS.get(found['found'], 'else')}."
    if found := _BOUND.match(problem):
        return _bound_sentence(found)
    found = _OTHER.match(problem)
    assert found is not None, "matches every text"
    return f"{_field(found['path'])}: {found['what'][:1].lower()}{found['what'][1:]}."


def _field(path: str | None, name: str | None = None) -> str:
    dotted = (path or "").lstrip(".")
    if name is not None:
        dotted = f"{dotted}.{name}" if dotted else name
    return dotted or "The body"


def _bound_sentence(found: re.Match[str]) -> str:
    bound, field = found["bound"], _field(found["path"])
    at = _BOUNDS[bound.removeprefix("of length ")]
    if "length" not in bound:
        return f"{field} must be {at} {found['value']}."
    if found["value"] == "0":
        return f"{field} must be an object, and it is an array."
    if found["value"] == "1" and ">" in bound:
        return f"{field} must not be empty."
    noun = "characters" if found["kind"] == "str" else "entries"
    return f"{field} must have {at} {found['value']} {noun}."
