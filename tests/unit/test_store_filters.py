"""Expressions mean what they say, whatever the text in them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.store import filters


@given(st.text(st.characters(exclude_characters="\n\r")))
def test_a_literal_is_one_literal_and_unescapes_to_its_text(text: str) -> None:
    written = filters.literal(text)
    assert re.fullmatch(r'"(?:[^"\\\n\r]|\\[\\"])*"', written)
    assert re.sub(r"\\(.)", r"\1", written[1:-1]) == text


@pytest.mark.parametrize("text", ["\n", "a\rb"])
def test_what_no_literal_can_mean_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="newline"):
        filters.literal(text)


def test_expressions_are_joined_and_empty_ones_left_out() -> None:
    parts = (filters.beyond("id", 'a"'), filters.equals("tag", "t"), "")
    assert filters.all_of(*parts) == 'id > "a\\"" and tag == "t"'
    assert filters.all_of("", "") == ""
    assert filters.one_of("id", ["a", "b"]) == 'id in ["a", "b"]'


def test_portions_keep_order_and_stay_small() -> None:
    values = [f"{k:04d}" + '"' * 4092 for k in range(600)]
    portions = list(filters.portions(values))
    assert [each for portion in portions for each in portion] == values
    assert all(len(filters.one_of("id", portion).encode()) <= 1.1 * 2**20 for portion in portions)
    assert [len(portion) for portion in filters.portions([str(k) for k in range(1001)])] == [500, 500, 1]
    assert list(filters.portions([])) == []
