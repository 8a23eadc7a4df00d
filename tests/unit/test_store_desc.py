"""The codec that fits 65,536 bytes of JSON into 65,535."""

import pytest

from app.errors import TooLarge
from app.store.desc import MAX_STORED_BYTES, restored, stored


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[]",
        '""',
        "null",
        "true",
        "-0.5e3",
        '{"b":1,"a":{"a":[]}}',
        '["]","}"]',
        '"\\ud800"',
        '"{"',
        "123456789012345678901234567890",
    ],
)
def test_every_json_text_comes_back_as_it_was(text: str) -> None:
    assert restored(stored(text)) == text


@pytest.mark.parametrize(
    "text", ['"' + "x" * 65_534 + '"', "[" + "9" * 65_534 + "]", '{"k":"' + "中" * 21_842 + 'xx"}']
)
def test_exactly_65536_bytes_fit(text: str) -> None:
    assert len(text.encode()) == 65_536
    assert len(stored(text).encode()) == MAX_STORED_BYTES
    assert restored(stored(text)) == text


@pytest.mark.parametrize("text", ['"' + "x" * 65_535 + '"', "9" * 65_536, '"' + "中" * 21_845 + '"'])
def test_a_text_that_does_not_fit_is_refused(text: str) -> None:
    with pytest.raises(TooLarge):
        stored(text)


@pytest.mark.parametrize("text", ["", " {}", "{} ", "{", "[1", '"', '"a'])
def test_text_that_is_not_compact_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="compact JSON"):
        stored(text)
