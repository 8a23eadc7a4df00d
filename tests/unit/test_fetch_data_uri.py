"""Fetching: data URIs."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import TooLarge, UnsupportedUri
from app.fetch import Fetcher, FetchLimits
from app.fetch.data_uri import decode_data_uri

BODY = b"\xff\xd8\xff\xfb\xef\xbe some bytes"
TEXT = base64.b64encode(BODY).decode()


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/jpeg;base64,{TEXT}",
        f"data:;base64,{TEXT}",
        f"DATA:IMAGE/PNG;BASE64,{TEXT}",
        f"data:application/octet-stream;charset=utf-8;name=a.jpg;base64,{TEXT}",
        f"data:image/jpeg;base64,{TEXT.rstrip('=')}",
        f"data:image/jpeg;base64,{TEXT[:10]}\r\n {TEXT[10:]}\n",
        "data:image/jpeg;base64," + TEXT.replace("+", "%2B").replace("/", "%2F").replace("=", "%3d"),
        f"data:image/jpeg;base64,%20{TEXT}%0A",
    ],
)
def test_a_base64_data_uri_is_decoded(uri: str) -> None:
    assert decode_data_uri(uri, max_bytes=1000) == BODY


@given(st.binary(max_size=200))
def test_any_bytes_come_back_from_their_data_uri(body: bytes) -> None:
    uri = "data:;base64," + base64.b64encode(body).decode()
    assert decode_data_uri(uri, max_bytes=len(body)) == body


@pytest.mark.parametrize(
    "uri", ["data:", "data:,hello", "data:image/jpeg,abc", "data:text/plain;base64", "data:base64,QUJD"]
)
def test_a_data_uri_without_base64_is_refused_with_a_sentence(uri: str) -> None:
    with pytest.raises(UnsupportedUri, match="base64"):
        decode_data_uri(uri, max_bytes=1000)


@pytest.mark.parametrize("payload", ["A", "QUJD!", "QU=JD", "=QUJD", "-_-_", "QUJDé", "QUJD%", "%zz", "QUJD\0"])
def test_malformed_base64_is_refused_with_a_sentence(payload: str) -> None:
    with pytest.raises(UnsupportedUri, match="malformed"):
        decode_data_uri(f"data:;base64,{payload}", max_bytes=1000)


@pytest.mark.parametrize("size", [1, 2, 3, 100, 101, 102])
def test_the_limit_of_bytes_is_kept_to_the_byte(size: int) -> None:
    uri = "data:;base64," + base64.b64encode(bytes(size)).decode()
    assert len(decode_data_uri(uri, max_bytes=size)) == size
    with pytest.raises(TooLarge, match=f"{size - 1} bytes"):
        decode_data_uri(uri, max_bytes=size - 1)


async def test_a_large_data_uri_is_fetched_like_a_small_one() -> None:
    limits = FetchLimits(
        max_bytes=2_000_000,
        timeout_s=1,
        first_byte_s=1,
        least_speed=0,
        max_redirects=0,
        connections=1,
        host_connections=1,
        user_agent="test",
    )
    fetcher = Fetcher(limits)
    for size in (10, 1_000_000):
        body = bytes(range(256)) * (size // 256 + 1)
        assert await fetcher.fetch("data:;base64," + base64.b64encode(body).decode()) == body
