"""Ids and tags as they are written in Milvus."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import InvalidRequest
from app.store import keys

_ALLOWED = st.text(st.one_of(st.sampled_from("\t\n\r' \"\\\\"), st.characters(exclude_categories=["Cc", "Cs"])))


@given(_ALLOWED)
def test_every_text_comes_back_and_is_as_long_as_before(text: str) -> None:
    written = keys.stored(text)
    assert keys.restored(written) == text
    assert len(written.encode()) == len(text.encode())
    assert not set(written) & set("\n\r'")


@given(st.lists(_ALLOWED.map(lambda text: text.replace("'", ""))))
def test_order_stays_where_there_is_no_apostrophe(texts: list[str]) -> None:
    assert [keys.restored(each) for each in sorted(map(keys.stored, texts))] == sorted(texts)


@pytest.mark.parametrize("character", ["\x00", "\x08", "\x0b", "\x0c", "\x0e", "\x1f", "\x7f", "\ud800"])
def test_characters_that_could_be_mistaken_are_refused(character: str) -> None:
    with pytest.raises(InvalidRequest, match="control characters"):
        keys.stored(f"a{character}b")
