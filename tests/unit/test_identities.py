"""Identities are read from tags, or from ids by a pattern that cannot be made slow."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.services.identities import ByPattern, ByTag


@pytest.mark.parametrize(
    ("pattern", "name", "identity"),
    [
        ("{identity}-*", "ada-1.jpg", "ada"),
        ("{identity}-*", "ada-lovelace-1.jpg", "ada"),
        ("{identity}-*", "ada-", "ada"),
        ("{identity}-*", "ada", None),
        ("{identity}-*", "-1.jpg", None),
        ("{identity}-*", "--1.jpg", "-"),
        ("{identity}", "ada", "ada"),
        ("{identity}", "", None),
        ("people/{identity}/*.jpg", "people/ada/1.jpg", "ada"),
        ("people/{identity}/*.jpg", "people/ada/a/b.jpg", "ada"),
        ("people/{identity}/*.jpg", "people/ada/1.png", None),
        ("people/{identity}/*.jpg", "all/people/ada/1.jpg", None),
        ("*/{identity}.jpg", "a/b/ada.jpg", "b/ada"),
        ("*-{identity}-*", "1-王-2", "王"),
        ("*-{identity}", "1-", None),
        ("a{identity}a", "aa", None),
        ("a{identity}a", "aaa", "a"),
        ("{identity}.*", "a\nb.jpg", "a\nb"),
    ],
)
def test_the_identity_stands_where_the_pattern_says(pattern: str, name: str, identity: str | None) -> None:
    assert ByPattern.of(pattern).identity(name, "tag") == identity


@given(
    st.text("ab-", max_size=2),
    st.lists(st.text("ab-", min_size=1, max_size=2), max_size=4),
    st.text("ab-", max_size=2),
    st.integers(0, 4),
    st.text("ab-", max_size=14),
)
def test_a_pattern_matches_as_a_lazy_regular_expression_would(
    start: str, between: list[str], end: str, place: int, name: str
) -> None:
    place = min(place, len(between))
    literals = [start, *between, end]
    holes = ["{identity}" if number == place else "*" for number in range(len(between) + 1)]
    pattern = literals[0] + "".join(hole + literal for hole, literal in zip(holes, literals[1:], strict=True))
    expression = re.escape(literals[0]) + "".join(
        ("(.+?)" if hole != "*" else ".*?") + re.escape(literal)
        for hole, literal in zip(holes, literals[1:], strict=True)
    )
    match = re.fullmatch(expression, name, re.DOTALL)
    assert ByPattern.of(pattern).identity(name, "") == (match[1] if match else None)


def test_an_id_made_to_be_slow_is_not() -> None:
    pattern = ByPattern.of("*a" * 8 + "{identity}ab")
    started = time.perf_counter()
    for _ in range(1000):
        assert pattern.identity("a" * 4096, "") is None
    assert time.perf_counter() - started < 1


@pytest.mark.parametrize(
    ("pattern", "word"),
    [
        ("*-*", "exactly once"),
        ("{identity}-{identity}", "exactly once"),
        ("{Identity}", "exactly once"),
        ("{identity}*", "side by side"),
        ("**-{identity}", "side by side"),
        ("*-" * 9 + "{identity}", "at most 8"),
        ("x" * 5000 + "{identity}", "shorten"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused(pattern: str, word: str) -> None:
    with pytest.raises(InvalidRequest, match=word):
        ByPattern.of(pattern)


def test_a_tag_is_an_identity_unless_it_is_the_one_of_images_without_any() -> None:
    assert ByTag().identity("1.jpg", "ada") == "ada"
    assert ByTag().identity("1.jpg", "default") is None
