"""Fetching over HTTP, against real servers on 127.0.0.1."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from app.errors import BlockedAddress, FetchFailed, FetchTimeout, LikenessError, TooLarge, UnsupportedUri
from app.fetch import Fetcher, FetchLimits
from tests.http_peers import NamedResolver, saying, serving, talking, tls_contexts

pytestmark = pytest.mark.usefixtures("loopback_only")

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
LIMITS = FetchLimits(
    max_bytes=100_000,
    timeout_s=10,
    first_byte_s=5,
    least_speed=1000,
    max_redirects=3,
    connections=8,
    host_connections=4,
    user_agent="likeness-test",
    allow_networks=LOOPBACK,
)


async def error_of(uri: str, limits: FetchLimits = LIMITS, resolver: AbstractResolver | None = None) -> LikenessError:
    # Without a resolver of its own a test asks none: no question may leave the machine.
    fetcher = Fetcher(limits, resolver=resolver or NamedResolver(localhost=["127.0.0.1"]))
    with pytest.raises(LikenessError) as caught:
        await fetcher.fetch(uri)
    return caught.value


async def test_the_guard_of_these_tests_stops_a_call_that_would_leave_the_machine() -> None:
    limits = replace(LIMITS, allow_networks=(ipaddress.ip_network("192.0.2.0/24"),))
    fetcher = Fetcher(limits, resolver=NamedResolver(outside=["192.0.2.1"]))
    for uri in ("http://192.0.2.1/", "http://outside.test/"):
        with pytest.raises(AssertionError, match=r"a connection to 192\.0\.2\.1"):
            await fetcher.fetch(uri)


@pytest.fixture
def tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    return tls_contexts(tmp_path)


async def test_an_image_comes_back_byte_for_byte_with_a_modest_request() -> None:
    body = bytes(range(256)) * 300
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        return web.Response(body=body, headers={"Set-Cookie": "a=b"})

    async with serving(handler) as port:
        fetcher = Fetcher(LIMITS)
        for _ in range(2):
            assert await fetcher.fetch(f"HTTP://127.0.0.1:{port}/a%20b.jpg?x=1#part") == body
    for request in seen:
        assert request.headers["User-Agent"] == "likeness-test"
        assert request.headers["Accept-Encoding"] == "identity"
        assert not {"Cookie", "Referer", "Authorization"} & set(request.headers)
        assert request.raw_path == "/a%20b.jpg?x=1"


@pytest.mark.parametrize(
    "uri",
    [
        "", "photo.jpg", "/etc/passwd", "file:///etc/passwd", "ftp://127.0.0.1/a.jpg", "javascript:alert(1)",
        "//127.0.0.1/a", "http:", "http://", "http:///a.jpg", "http://[::1", "http://127.0.0.1:99999/",
        "gopher://127.0.0.1", " http://127.0.0.1/", "\thttp://127.0.0.1/", "ht\ntp://127.0.0.1/",
        "unix:/var/run/docker.sock", "blob:http://127.0.0.1/1", "http://user@127.0.0.1/", "http://user:secret@127.0.0.1/",
        "http://example.com:80@127.0.0.1/", "http://@127.0.0.1/",
    ],
)  # fmt: skip
async def test_anything_but_http_and_data_is_unsupported(uri: str) -> None:
    assert isinstance(await error_of(uri), UnsupportedUri)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.0.1.", "localhost", "127.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "0.0.0.0",
        "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[fe80::1]", "169.254.169.254",
        "10.0.0.1", "100.100.100.200", "１２７.０.０.１",
        "127。0。0。1",
    ],
)  # fmt: skip
async def test_private_hosts_are_blocked_in_every_spelling(host: str) -> None:
    async def handler(request: web.Request) -> web.Response:
        calls.append(request)
        return web.Response(body=b"secret")

    calls: list[web.Request] = []
    async with serving(handler) as port:
        error = await error_of(f"http://{host}:{port}/", replace(LIMITS, allow_networks=()))
    assert isinstance(error, BlockedAddress)
    assert not calls


async def test_a_name_that_changes_its_address_is_called_where_it_was_checked() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"picture")

    resolver = NamedResolver(rebind=["127.0.0.1", "127.0.0.9"])
    limits = replace(LIMITS, allow_networks=(ipaddress.ip_network("127.0.0.1/32"),))
    async with serving(handler) as port:
        fetcher = Fetcher(limits, resolver=resolver)
        assert await fetcher.fetch(f"http://rebind.test:{port}/") == b"picture"
        assert resolver.asked == ["rebind.test"]
        error = await error_of(f"http://rebind.test:{port}/", limits, resolver)
    assert isinstance(error, BlockedAddress)
    assert "127" not in error.message


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_followed_and_told_nothing(status: int) -> None:
    seen: list[web.Request] = []

    async def handler(request: web.Request) -> web.Response:
        seen.append(request)
        if request.path == "/start":
            return web.Response(status=status, headers={"Location": "end?x=1", "Set-Cookie": "a=b"}, body=b"moved")
        return web.Response(body=b"picture")

    async with serving(handler) as port:
        fetcher = Fetcher(LIMITS)
        assert await fetcher.fetch(f"http://127.0.0.1:{port}/start") == b"picture"
    assert [request.path_qs for request in seen] == ["/start", "/end?x=1"]
    assert not {"Cookie", "Referer"} & set(seen[1].headers)


@pytest.mark.parametrize(
    ("location", "kind"),
    [
        ("http://10.0.0.1/", BlockedAddress),
        ("http://[::1]/", BlockedAddress),
        ("//0x7f.0.0.2/", BlockedAddress),
        ("http://inside.test/", BlockedAddress),
        ("file:///etc/passwd", FetchFailed),
        ("ftp://example.com/", FetchFailed),
        ("data:image/png;base64,QUJD", FetchFailed),
        ("http://user:passwd@127.0.0.1/", FetchFailed),
        ("http://127.0.0.1:25/", BlockedAddress),
        ("http://[", FetchFailed),
        ("http://", FetchFailed),
        ("", FetchFailed),
    ],
)
async def test_a_redirect_is_checked_like_the_first_address(location: str, kind: type[LikenessError]) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": location})

    limits = replace(LIMITS, allow_networks=(ipaddress.ip_network("127.0.0.1/32"),))
    async with serving(handler) as port:
        error = await error_of(f"http://127.0.0.1:{port}/", limits, NamedResolver(inside=["192.168.0.1"]))
    assert type(error) is kind
    assert "127.0.0.1" in error.message
    assert not any(secret in error.message for secret in ("10.0.0.1", "192.168", "inside", "passwd"))


async def test_redirects_end_at_the_limit() -> None:
    async def handler(request: web.Request) -> web.Response:
        left = int(request.path[1:])
        return web.Response(status=302, headers={"Location": f"/{left - 1}"}) if left else web.Response(body=b"picture")

    async with serving(handler) as port:
        fetcher = Fetcher(LIMITS)
        assert await fetcher.fetch(f"http://127.0.0.1:{port}/3") == b"picture"
        error = await error_of(f"http://127.0.0.1:{port}/4")
    assert isinstance(error, FetchFailed)
    assert "3 times" in error.message


async def test_https_works_where_the_certificate_is_trusted_and_never_falls_back(
    tls: tuple[ssl.SSLContext, ssl.SSLContext],
) -> None:
    async def handler(request: web.Request) -> web.Response:
        if request.path == "/down":
            return web.Response(status=302, headers={"Location": f"http://photos.test:{request.url.port}/"})
        return web.Response(body=b"picture")

    resolver = NamedResolver(photos=["127.0.0.1"], wrong=["127.0.0.1"])
    async with serving(handler, tls=tls[0]) as port:
        fetcher = Fetcher(LIMITS, resolver=resolver, tls=tls[1])
        assert await fetcher.fetch(f"https://photos.test:{port}/") == b"picture"
        with pytest.raises(FetchFailed, match="from https to http"):
            await fetcher.fetch(f"https://photos.test:{port}/down")
        with pytest.raises(FetchFailed, match="certificate"):
            await fetcher.fetch(f"https://wrong.test:{port}/")
        error = await error_of(f"https://photos.test:{port}/", resolver=resolver)
    assert isinstance(error, FetchFailed)
    assert "certificate" in error.message


async def test_a_server_without_tls_is_a_failed_fetch() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"picture")

    async with serving(handler) as port:
        assert isinstance(await error_of(f"https://127.0.0.1:{port}/"), FetchFailed)


@pytest.mark.parametrize("status", [201, 204, 206, 304, 400, 403, 404, 500, 503])
async def test_any_status_but_200_is_a_failed_fetch_that_tells_the_status(status: int) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(status=status)

    async with serving(handler) as port:
        error = await error_of(f"http://127.0.0.1:{port}/path?token=abc")
    assert isinstance(error, FetchFailed)
    assert str(status) in error.message
    assert "127.0.0.1" in error.message
    assert not any(secret in error.message for secret in ("token", "path"))


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    async with talking(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n")) as port:
        assert isinstance(await error_of(f"http://127.0.0.1:{port}/"), TooLarge)


@pytest.mark.parametrize("head", [b"", b"Transfer-Encoding: chunked\r\n"])
async def test_an_endless_body_is_refused_once_it_passes_the_limit(head: bytes) -> None:
    closed = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n")
        try:
            while True:
                writer.write(b"1000\r\n" + bytes(4096) + b"\r\n" if head else bytes(4096))
                await writer.drain()
        except ConnectionError:
            closed.set()

    async with talking(talk) as port:
        assert isinstance(await error_of(f"http://127.0.0.1:{port}/"), TooLarge)
        await asyncio.wait_for(closed.wait(), 5)


async def test_a_body_of_just_the_limit_is_accepted() -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=bytes(100_000))

    async with serving(handler) as port:
        fetcher = Fetcher(LIMITS)
        assert len(await fetcher.fetch(f"http://127.0.0.1:{port}/")) == 100_000


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"",
    ],
    ids=["length", "chunk", "chunk-size", "encoding", "negative", "header", "ssh", "nothing"],
)
async def test_a_broken_answer_is_a_failed_fetch(answer: bytes) -> None:
    async with talking(saying(answer)) as port:
        error = await error_of(f"http://127.0.0.1:{port}/")
    assert isinstance(error, FetchFailed)
    assert "127.0.0.1" in error.message


async def test_a_host_that_is_not_there_is_a_failed_fetch() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        assert isinstance(await error_of(f"http://127.0.0.1:{port}/"), FetchFailed)
    error = await error_of("http://nowhere.test/", resolver=NamedResolver())
    assert isinstance(error, FetchFailed)
    assert "nowhere.test" in error.message
    long_label = await error_of(f"http://{'a' * 70}.test/")
    assert isinstance(long_label, (FetchFailed, UnsupportedUri))


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"])
async def test_a_host_that_stalls_is_a_timeout(start: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await reader.read()

    async with talking(talk) as port:
        error = await error_of(f"http://127.0.0.1:{port}/", replace(LIMITS, timeout_s=0.2))
    assert isinstance(error, FetchTimeout)
    assert "127.0.0.1" in error.message


async def test_cancelling_a_fetch_closes_its_connection() -> None:
    started, closed = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        started.set()
        await reader.read()
        closed.set()

    async with talking(talk) as port:
        fetcher = Fetcher(LIMITS)
        fetch = asyncio.create_task(fetcher.fetch(f"http://127.0.0.1:{port}/"))
        await asyncio.wait_for(started.wait(), 5)
        fetch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetch
        await asyncio.wait_for(closed.wait(), 5)


async def test_no_more_connections_are_open_than_allowed() -> None:
    open_now, most = 0, 0

    async def handler(request: web.Request) -> web.Response:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.sleep(0.02)
        open_now -= 1
        return web.Response(body=b"picture")

    async with serving(handler) as port:
        fetcher = Fetcher(replace(LIMITS, connections=4, host_connections=9))
        bodies = await asyncio.gather(*(fetcher.fetch(f"http://127.0.0.1:{port}/") for _ in range(12)))
    assert bodies == [b"picture"] * 12
    assert most == 4


async def test_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"picture")

    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with serving(handler) as port:
        fetcher = Fetcher(LIMITS)
        assert await fetcher.fetch(f"http://127.0.0.1:{port}/") == b"picture"
