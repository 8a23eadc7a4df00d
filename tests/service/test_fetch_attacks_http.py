"""Fetching from hosts that mean harm, real servers on loopback: slow ones, endless ones, and answers that are none."""

from __future__ import annotations

import asyncio
import ipaddress
from dataclasses import replace

import pytest
from aiohttp import web

from app.errors import BlockedAddress, FetchFailed, FetchTimeout, TooLarge
from app.fetch import AllowList, Fetcher
from tests.http_peers import NamedResolver, Talk, saying, serving, talking
from tests.service.test_fetch_http import LIMITS, error_of

pytestmark = pytest.mark.usefixtures("loopback_only")

PICTURE = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\npicture"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def repeating(head: bytes, piece: bytes, *, pause_s: float = 0.0) -> Talk:
    """Says the same again and again, until nobody listens."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(pause_s)

    return talk


# --- slow hosts ---


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 O"])
async def test_a_host_that_does_not_begin_its_answer_is_given_up_early(said: bytes) -> None:
    async with talking(repeating(said, b"a" if said else b"", pause_s=0.01)) as port:
        error = await error_of(f"http://127.0.0.1:{port}/", replace(LIMITS, first_byte_s=0.2))
    assert isinstance(error, FetchTimeout)
    assert "did not begin to answer within 0.2 seconds" in error.message


async def test_a_name_whose_servers_do_not_answer_is_a_timeout() -> None:
    class Silent(NamedResolver):
        async def resolve(self, *_: object, **__: object) -> list[object]:  # type: ignore[override]
            await asyncio.Event().wait()
            return []

    error = await error_of("http://silent.test/", replace(LIMITS, timeout_s=0.1), Silent())
    assert isinstance(error, FetchTimeout)
    assert "found by name" in error.message


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 50000\r\n\r\n", CHUNKED])
async def test_a_host_that_trickles_is_given_up_with_a_sentence(head: bytes) -> None:
    left = asyncio.Event()
    trickle = repeating(head, b"x" if head != CHUNKED else b"1\r\nx\r\n", pause_s=0.02)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await trickle(reader, writer)
        except ConnectionError:
            left.set()
            raise

    async with talking(talk) as port:
        error = await error_of(f"http://127.0.0.1:{port}/", replace(LIMITS, window_s=0.2))
        await asyncio.wait_for(left.wait(), 5)
    assert isinstance(error, FetchTimeout)
    assert "less than 1000 bytes a second" in error.message


async def test_a_host_that_is_just_fast_enough_is_waited_for() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12000\r\n\r\n")
        for _ in range(12):
            writer.write(bytes(1000))
            await writer.drain()
            await asyncio.sleep(0.02)

    async with talking(talk) as port:
        body = await Fetcher(replace(LIMITS, window_s=0.1)).fetch(f"http://127.0.0.1:{port}/")
    assert len(body) == 12000


async def test_one_slow_address_keeps_no_other_host_waiting_whatever_its_names() -> None:
    release, asked = asyncio.Event(), asyncio.Semaphore(0)
    names = [f"n{n}" for n in range(12)]
    resolver = NamedResolver(**{name: ["127.0.0.1"] for name in names}, other=["127.0.0.2"])
    at_work = most = reserved = 0

    async def slow(request: web.Request) -> web.Response:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        asked.release()
        await release.wait()
        at_work -= 1
        return web.Response(body=b"late")

    async def quick(request: web.Request) -> web.Response:
        return web.Response(body=b"picture")

    async def reserve() -> None:
        nonlocal reserved
        reserved += 1

    fetcher = Fetcher(LIMITS, resolver=resolver)
    async with serving(slow) as port, serving(quick, address="127.0.0.2") as other, asyncio.TaskGroup() as group:
        late = [group.create_task(fetcher.fetch(f"http://{n}.test:{port}/", before_body=reserve)) for n in names]
        for _ in range(LIMITS.host_connections):
            await asyncio.wait_for(asked.acquire(), 5)
        for _ in range(3):
            assert await fetcher.fetch(f"http://other.test:{other}/") == b"picture"
        assert reserved == 0, "memory is held for hosts that have not begun to answer"
        release.set()
    assert [task.result() for task in late] == [b"late"] * 12
    assert most == LIMITS.host_connections
    assert reserved == 12


async def test_who_waits_for_a_busy_host_in_vain_is_told_so_and_one_who_leaves_frees_the_place() -> None:
    asked = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()

    fetcher = Fetcher(replace(LIMITS, host_connections=1, timeout_s=0.3))
    async with talking(talk) as port, talking(saying(PICTURE)) as good:
        first = asyncio.create_task(fetcher.fetch(f"http://127.0.0.1:{port}/", before_body=None))
        await asyncio.wait_for(asked.wait(), 5)
        waiting = asyncio.create_task(fetcher.fetch(f"http://127.0.0.1:{good}/"))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await fetcher.fetch(f"http://127.0.0.1:{good}/") == b"picture"
    busy = Fetcher(replace(LIMITS, host_connections=1, timeout_s=0.3))
    begun, release = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        begun.set()
        await release.wait()

    async with talking(saying(PICTURE)) as good, asyncio.TaskGroup() as group:
        holding = group.create_task(busy.fetch(f"http://127.0.0.1:{good}/", before_body=hold))
        await asyncio.wait_for(begun.wait(), 5)
        with pytest.raises(FetchTimeout, match="Too many images are being fetched from 127"):
            await busy.fetch(f"http://127.0.0.1:{good}/")
        release.set()
    assert holding.result() == b"picture"


# --- endless and odd answers ---


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 999),
        (b"", b"HTTP/1.1 103 Early Hints\r\n" + b"Link: <a>\r\n" * 99 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 99),
        (b"HTTP/1.1 200 OK\r\nX: ", b"a" * 999),
        (b"HTTP/1.1 200 ", b"a" * 999),
        (CHUNKED, b"1\r\nx\r\n" * 999),
        (CHUNKED + b"1;", b"a" * 999),
        (CHUNKED, b"1;" + b"a" * 999 + b"\r\nx\r\n"),
        (CHUNKED + b"1\r\nx\r\n0\r\n", b"A: b\r\n" * 99),
        (CHUNKED, b"0" * 999),
    ],
    ids=["1xx", "hints", "headers", "header", "reason", "chunks", "extension", "extensions", "trailers", "size"],
)
async def test_a_host_that_sends_no_end_of_what_is_no_image_is_cut_off(head: bytes, piece: bytes) -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head)
        while True:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)

    async with talking(talk) as port:
        error = await error_of(f"http://127.0.0.1:{port}/", replace(LIMITS, max_bytes=50_000_000, timeout_s=60))
    assert isinstance(error, FetchFailed)
    assert sent < 20_000_000, "what the kernel and the streams buffer, and no more"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\npicture",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n7\r\npicture\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n7\r\npicture\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Encoding: br\r\nContent-Length: 7\r\n\r\npicture",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nContent-Length: 3\r\n\r\npicture",
        b"HTTP/1.1 200 OK\r\nContent-Length: 7, 7\r\n\r\npicture",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n7\r\npicture\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +7\r\n\r\npicture",
        CHUNKED + b"-7\r\npicture\r\n0\r\n\r\n",
        CHUNKED + b"0x7\r\npicture\r\n0\r\n\r\n",
        CHUNKED + b"FFFFFFFFFFFFFFFFF\r\npicture",
        CHUNKED + b"7\r\npicture0\r\n\r\n",
        CHUNKED + b"7\r\npicture\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\npicture",
        b"HTTP/1.1 200 OK\r\nA\0B: c\r\nContent-Length: 7\r\n\r\npicture",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 7\r\n\r\npicture",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"Content-Length: 7\r\n\r\npicture",
        b"picture",
        b"HTTP/1.1 302 Found\r\nLocation: /" + b"a" * 9000 + b"\r\n\r\n",
    ],
)  # fmt: skip
async def test_an_answer_that_can_be_read_in_two_ways_is_none(answer: bytes) -> None:
    async with talking(saying(answer)) as port:
        error = await error_of(f"http://127.0.0.1:{port}/")
    assert isinstance(error, FetchFailed)


async def test_a_chunk_that_claims_more_than_an_image_may_have_is_cut_at_the_limit() -> None:
    async with talking(repeating(CHUNKED + b"7FFFFFFF\r\n", bytes(9999))) as port:
        assert isinstance(await error_of(f"http://127.0.0.1:{port}/"), TooLarge)


async def test_small_chunks_and_hints_before_the_answer_are_all_right() -> None:
    pieces = b"".join(b"80\r\n" + bytes(128) + b"\r\n" for _ in range(700)) + b"0\r\n\r\n"
    answer = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 3 + CHUNKED + pieces
    async with talking(saying(answer)) as port:
        assert await Fetcher(LIMITS).fetch(f"http://127.0.0.1:{port}/") == bytes(128 * 700)


@pytest.mark.parametrize(
    ("first", "said"),
    [
        (b"", PICTURE + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        (b"", PICTURE + b"evil"),
        (PICTURE, b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\nConnection: keep-alive\r\n\r\npicture"),
    ],
    ids=["second answer", "longer than told", "answer before the question", "kept open"],
)
async def test_nothing_that_comes_unasked_answers_a_later_question(first: bytes, said: bytes) -> None:
    connections = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        writer.write(said)
        await reader.read()  # until the other side hangs up

    fetcher = Fetcher(LIMITS)
    outcomes: set[bytes] = set()
    async with talking(talk, first=first) as port:
        for number in range(3):
            try:
                outcomes.add(await fetcher.fetch(f"http://127.0.0.1:{port}/{number}"))
            except FetchFailed:
                outcomes.add(b"refused")
    assert len(outcomes) == 1
    assert outcomes <= {b"picture", b"refused"}
    assert connections == 3


async def test_a_loop_of_redirects_ends() -> None:
    asked: list[str] = []

    async def handler(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.Response(status=302, headers={"Location": "/b" if request.path == "/a" else "/a"})

    async with serving(handler) as port:
        error = await error_of(f"http://127.0.0.1:{port}/a")
    assert isinstance(error, FetchFailed)
    assert asked == ["/a", "/b", "/a", "/b"]


# --- where to ---


@pytest.mark.parametrize("port", [1, 22, 25, 81, 1023, 5060, 6000, 6667, 10080])
async def test_ports_of_other_protocols_are_not_called(port: int) -> None:
    resolver = NamedResolver(photos=["127.0.0.1"])
    error = await error_of(f"http://photos.test:{port}/", resolver=resolver)
    assert isinstance(error, BlockedAddress)
    assert f"port {port}" in error.message
    assert resolver.asked == []


async def test_a_closed_network_tells_nothing_of_its_ports() -> None:
    limits = replace(LIMITS, allow_networks=())
    resolver = NamedResolver(inside=["127.0.0.1"])
    async with talking(saying(PICTURE)) as open_port:
        told = {
            (await error_of(f"http://inside.test:{p}/", limits, resolver)).message for p in (open_port, 1024, 65535)
        }
    assert told == {"The image's host inside.test is in a private or reserved network, which this service won't call."}


async def test_where_hosts_are_named_only_they_are_called_and_others_not_even_looked_up() -> None:
    resolver = NamedResolver(photos=["127.0.0.1"], other=["127.0.0.1"], inside=["10.0.0.1"])
    async with talking(saying(PICTURE)) as port:
        allow = AllowList.parse([f"photos.test:{port}", "*.cdn.test:*", "inside.test:*"])
        limits = replace(LIMITS, allow=allow)
        fetcher = Fetcher(limits, resolver=resolver)
        assert await fetcher.fetch(f"http://PHOTOS.test:{port}/") == b"picture"
        assert await fetcher.fetch(f"http://photos.test.:{port}/") == b"picture"
        resolver.asked.clear()
        for uri in (
            f"http://other.test:{port}/",
            "http://photos.test/",
            f"http://127.0.0.1:{port}/",
            "http://cdn.test/",
        ):
            error = await error_of(uri, limits, resolver)
            assert isinstance(error, BlockedAddress)
            assert "its operator has named the hosts" in error.message
        assert resolver.asked == []
        private = await error_of("http://inside.test:8080/", limits, resolver)
        assert isinstance(private, BlockedAddress)
        assert "private or reserved network" in private.message


async def test_a_named_network_allows_every_name_that_leads_into_it() -> None:
    resolver = NamedResolver(one=["127.0.0.1"], two=["127.0.0.2"])
    async with talking(saying(PICTURE)) as port:
        limits = replace(LIMITS, allow=AllowList.parse([f"127.0.0.1:{port}"]))
        fetcher = Fetcher(limits, resolver=resolver)
        assert await fetcher.fetch(f"http://one.test:{port}/") == b"picture"
        assert await fetcher.fetch(f"http://127.0.0.1:{port}/") == b"picture"
        for host in ("two.test", "127.0.0.2"):
            error = await error_of(f"http://{host}:{port}/", limits, resolver)
            assert isinstance(error, BlockedAddress)
            assert "its operator has named the hosts" in error.message


async def test_a_named_host_cannot_redirect_to_one_that_is_not() -> None:
    called: list[str] = []

    async def secret(request: web.Request) -> web.Response:
        called.append(request.path)
        return web.Response(body=b"secret")

    async with serving(secret) as closed:

        async def handler(request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": f"http://other.test:{closed}/"})

        async with serving(handler) as port:
            limits = replace(LIMITS, allow=AllowList.parse([f"photos.test:{port}"]))
            resolver = NamedResolver(photos=["127.0.0.1"], other=["127.0.0.1"])
            error = await error_of(f"http://photos.test:{port}/", limits, resolver)
    assert isinstance(error, BlockedAddress)
    assert error.message == (
        "The image's host photos.test redirects to a host, a port or a network that this service won't call."
    )
    assert called == []
    assert resolver.asked == ["photos.test"]


async def test_an_allowed_network_may_be_opened_in_part() -> None:
    opened = (ipaddress.ip_network("127.0.0.2/32"),)
    resolver = NamedResolver(both=["127.0.0.1", "127.0.0.2"])

    async def handler(request: web.Request) -> web.Response:
        return web.Response(body=b"picture")

    async with serving(handler, address="127.0.0.2") as port:
        limits = replace(LIMITS, allow_networks=opened, allow=AllowList.parse(["127.0.0.0/8:*"]))
        assert isinstance(await error_of(f"http://both.test:{port}/", limits, resolver), BlockedAddress)
        assert await Fetcher(limits, resolver=resolver).fetch(f"http://both.test:{port}/") == b"picture"
