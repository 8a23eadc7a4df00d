"""Rows that this service could have written pass; those that it could not read, or find again, do not."""

from __future__ import annotations

import pytest

from app.store.findings import Kind, rows_in_words, some_of
from app.store.records import Family
from app.store.row_check import flaw

BOX = '{"pts": [[0, 1], [9, 1], [9, 8], [0, 8]], "score": 0.5}'


def row(**changed: str) -> dict[str, str]:
    return {"id": "a", "tag": "t", "desc": "{", "bounding_box": BOX} | changed


@pytest.mark.parametrize("kept", ["{", "[1,2", '"x', "null", "-1.5", "1e400", '{"a":{}'])
def test_any_json_is_a_desc(kept: str) -> None:
    assert flaw(row(desc=kept), Family.FACE) is None


@pytest.mark.parametrize("kept", ["", "{{", '{"a"', "nul", "NaN", '{"a":Infinity', "[" * 60_000])
def test_a_desc_that_is_no_json_is_told(kept: str) -> None:
    assert flaw(row(desc=kept), Family.IMAGE) is Kind.UNREADABLE_DESC


@pytest.mark.parametrize("score", ["null", "0.5", "1"])
def test_a_box_has_four_points_and_perhaps_a_score(score: str) -> None:
    assert flaw(row(bounding_box=BOX.replace("0.5", score)), Family.FACE) is None


@pytest.mark.parametrize(
    "box",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"pts": [[0, 1], [9, 1], [9, 8], [0, 8]]}',
        BOX.replace("[0, 1], ", ""),
        BOX.replace("[0, 1]", "[0, 1, 2]"),
        BOX.replace("[0, 1]", '["0", 1]'),
        BOX.replace("[0, 1]", "[0.5, 1]"),
        BOX.replace("[0, 1]", "[true, 1]"),
        BOX.replace("[0, 1]", "7"),
        BOX.replace("0.5", "NaN"),
        BOX.replace("0.5", '"0.5"'),
        BOX.replace("0.5", "true"),
    ],
)
def test_a_face_without_a_readable_box_is_told_and_an_image_needs_none(box: str) -> None:
    assert flaw(row(bounding_box=box), Family.FACE) is Kind.NO_BOX
    assert flaw(row(bounding_box=box), Family.IMAGE) is None


@pytest.mark.parametrize("text", ["it's", "a\nb", "a\rb", "\x01", "a\x7f"])
def test_characters_that_are_written_otherwise_are_told_in_ids_and_tags(text: str) -> None:
    assert flaw(row(id=text), Family.FACE) is Kind.FOREIGN_TEXT
    assert flaw(row(tag=text), Family.FACE) is Kind.FOREIGN_TEXT
    assert flaw(row(tag="it\x1fs", id="a\x0bb"), Family.FACE) is None


def test_a_row_without_an_id_is_told() -> None:
    assert flaw(row(id=""), Family.FACE) is Kind.EMPTY_ID


def test_many_ids_are_cut_short_in_a_line() -> None:
    assert some_of(["a", "b'"]) == "'a', \"b'\""
    assert some_of([str(number) for number in range(1005)]) == "'0', '1', '2', '3', '4' and 1,000 more"
    assert (rows_in_words(1), rows_in_words(2000)) == ("1 row", "2,000 rows")
