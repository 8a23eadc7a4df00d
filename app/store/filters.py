"""Milvus filter expressions: the only place where a caller's text becomes part of one.

pymilvus does not escape what it puts into expressions itself (``ids=`` parameters, iterators), so these are never used.
Texts come here as ``keys.stored`` writes them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

# All that may not stand in a literal as it is, besides newline and return; the engines agree on these two escapes only.
_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"'})

# Milvus Lite refuses requests over 4 MiB (gRPC's default), so one expression stays well below.
_MAX_EXPRESSION_BYTES = 1 << 20
_MAX_VALUES = 500


def literal(text: str) -> str:
    """A string literal that means exactly ``text``.

    Raises:
        ValueError: no literal can: there is a newline or a return in it.
    """
    if "\n" in text or "\r" in text:
        raise ValueError("a filter cannot hold a newline or a return")
    return f'"{text.translate(_ESCAPES)}"'


def equals(field: str, value: str) -> str:
    """Rows whose ``field`` is ``value``."""
    return f"{field} == {literal(value)}"


def one_of(field: str, values: Sequence[str]) -> str:
    """Rows whose ``field`` is one of ``values`` (at least one)."""
    return f"{field} in [{', '.join(map(literal, values))}]"


def beyond(field: str, after: str) -> str:
    """Rows whose ``field`` comes after ``after`` in byte order: all that are not empty, for the empty string."""
    return f"{field} > {literal(after)}"


def up_to(field: str, last: str) -> str:
    """Rows whose ``field`` is ``last`` or comes before it in byte order."""
    return f"{field} <= {literal(last)}"


def more_than(field: str, number: int) -> str:
    """Rows whose ``field`` is larger than ``number``."""
    return f"{field} > {number:d}"


def at_most(field: str, number: int) -> str:
    """Rows whose ``field`` is ``number`` or less."""
    return f"{field} <= {number:d}"


def any_of(*parts: str) -> str:
    """Rows that meet one of the parts, none of which is empty (at least one)."""
    return f"({' or '.join(parts)})"


def all_of(*parts: str) -> str:
    """Rows that meet every part that is not empty; an empty expression means all rows."""
    return " and ".join(part for part in parts if part)


def portions(values: Sequence[str]) -> Iterator[list[str]]:
    """Cuts values into lists short enough for one ``one_of``."""
    portion: list[str] = []
    size = 0
    for value in values:
        cost = len(literal(value).encode()) + 2
        if portion and (size + cost > _MAX_EXPRESSION_BYTES or len(portion) == _MAX_VALUES):
            yield portion
            portion, size = [], 0
        portion.append(value)
        size += cost
    if portion:
        yield portion
