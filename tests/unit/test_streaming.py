"""A streamed answer is valid JSON, however its entries come."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.operations import Stream
from app.api.streaming import written


class Entry(msgspec.Struct):
    number: int


async def portions_of(portions: Sequence[Sequence[int]]) -> AsyncGenerator[list[Entry], None]:
    for portion in portions:
        yield [Entry(number) for number in portion]


@given(st.lists(st.lists(st.integers(0, 99), max_size=3), max_size=6))
async def test_the_pieces_are_one_json_object_with_all_entries_in_order(portions: list[list[int]]) -> None:
    pieces = [piece async for piece in written(Stream("found", portions_of(portions)))]
    assert all(pieces)
    assert len(pieces) == len(portions) + 1
    assert json.loads(b"".join(pieces)) == {"found": [{"number": each} for portion in portions for each in portion]}


async def test_what_is_left_early_is_closed_at_once() -> None:
    closed = []

    async def endless() -> AsyncGenerator[list[Entry], None]:
        try:
            while True:
                yield [Entry(1)]
        finally:
            closed.append(True)

    pieces = written(Stream("found", endless()))
    assert await anext(pieces) == b'{"found":[{"number":1}'
    await pieces.aclose()
    assert closed == [True]


async def test_an_error_on_the_way_leaves_the_object_open() -> None:
    async def broken() -> AsyncGenerator[list[Entry], None]:
        yield [Entry(1)]
        raise RuntimeError("gone")

    pieces = written(Stream("found", broken()))
    first = await anext(pieces)
    with pytest.raises(RuntimeError, match="gone"):
        await anext(pieces)
    with pytest.raises(json.JSONDecodeError):
        json.loads(first)
