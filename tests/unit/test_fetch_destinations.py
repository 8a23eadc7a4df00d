"""Fetching: which hosts and ports may be called, and looking names up."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from app.errors import BlockedAddress, OperatorError
from app.fetch.allow_list import AllowList, is_ordinary
from app.fetch.destinations import Destination, Destinations, Pinned
from app.fetch.names import SystemResolver
from app.fetch.places import Places, site


class FixedResolver(AbstractResolver):
    """Answers every name with the same addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0)
            for each in self.addresses
        ]

    async def close(self) -> None:
        return


async def found(url: str, *addresses: str, allow: tuple[str, ...] = ()) -> Destination:
    return await Destinations(FixedResolver(*addresses), AllowList.parse(allow), ()).find(URL(url))


async def test_only_public_addresses_are_kept_and_pinned() -> None:
    destination = await found("http://cdn.test/", "10.0.0.1", "1.1.1.1", "::1", "fe80::1%eth0", "2606:4700::1")
    assert [answer["host"] for answer in destination.answers] == ["1.1.1.1", "2606:4700::1"]
    assert await Pinned(destination).resolve("anything", 1) == list(destination.answers)


async def test_a_name_with_private_addresses_only_is_blocked_without_naming_them() -> None:
    with pytest.raises(BlockedAddress, match=r"intranet\.test") as caught:
        await found("http://intranet.test/", "10.0.0.1", "not an address")
    assert "10.0.0.1" not in caught.value.message


async def test_a_name_without_addresses_is_not_found() -> None:
    with pytest.raises(OSError, match="no address"):
        await found("http://nowhere.test/")


@pytest.mark.parametrize(
    ("entry", "url", "allowed"),
    [
        ("photos.test", "http://photos.test/", True),
        ("photos.test", "https://photos.test/", True),
        ("photos.test", "http://Photos.Test./", True),
        ("Photos.Test.", "http://photos.test/", True),
        ("photos.test", "http://photos.test:8080/", False),
        ("photos.test:8080", "http://photos.test:8080/", True),
        ("photos.test:8080", "http://photos.test/", False),
        ("photos.test:81", "http://photos.test:81/", True),
        ("photos.test:*", "http://photos.test:9000/", True),
        ("photos.test:*", "http://photos.test:22/", False),
        ("photos.test", "http://a.photos.test/", False),
        ("photos.test", "http://notphotos.test/", False),
        ("*.photos.test", "http://a.photos.test/", True),
        ("*.photos.test", "http://b.a.photos.test/", True),
        ("*.photos.test", "http://photos.test/", False),
        ("*.photos.test", "http://evilphotos.test/", False),
        ("*.photos.test", "http://photos.test.evil.test/", False),
        ("bücher.test", "http://xn--bcher-kva.test/", True),
        ("1.1.1.0/24", "http://any.test/", True),
        ("1.1.1.1", "http://any.test/", True),
        ("1.1.1.1:8080", "http://any.test:8080/", True),
        ("1.1.1.1:8080", "http://any.test/", False),
        ("1.1.1.1", "http://1.1.1.1/", True),
        ("1.1.1.1", "http://[::ffff:1.1.1.1]/", True),
        ("1.1.2.0/24", "http://any.test/", False),
        ("[2606:4700::/32]", "http://[2606:4700::1]/", True),
        ("[2606:4700::/32]:8080", "http://[2606:4700::1]:8080/", True),
        ("[2606:4700::/32]", "http://any.test/", False),
    ],
)
async def test_a_named_host_or_network_is_allowed_at_its_ports_and_nothing_else_is(
    entry: str, url: str, allowed: bool
) -> None:
    if allowed:
        assert (await found(url, "1.1.1.1", allow=(entry,))).sites
    else:
        with pytest.raises(BlockedAddress, match="its operator has named the hosts"):
            await found(url, "1.1.1.1", allow=(entry,))


@pytest.mark.parametrize(
    "entry",
    ["http://a.test", "a.test/", "a.test:99999", "a.test:0", "a.test:", "10.1.2.3/8", "999.1.1.1", "[::1", "*", "*.",
     "a@b.test", "a.*.test", "[zz::]"],
)  # fmt: skip
def test_an_entry_that_names_no_host_is_refused_with_a_sentence(entry: str) -> None:
    with pytest.raises(OperatorError, match=r"^LIKENESS_FETCH_ALLOW has .* must have hosts such as"):
        AllowList.parse([entry])


def test_an_empty_list_allows_everything() -> None:
    assert not AllowList()
    assert not AllowList.parse(())


def test_ordinary_ports_are_those_of_the_web_and_those_that_nothing_else_has() -> None:
    assert [port for port in range(1025) if is_ordinary(port)] == [80, 443, 1024]
    assert all(is_ordinary(port) for port in (3000, 8000, 8080, 8443, 9000, 49152, 65535))
    assert not any(is_ordinary(port) for port in (0, 22, 25, 6000, 6667, 10080))


def test_a_site_is_one_machine_whatever_its_address_looks_like() -> None:
    sites = {site(ipaddress.ip_address(each)) for each in ("1.2.3.4", "::ffff:1.2.3.4", "64:ff9b::1.2.3.4")}
    assert len(sites) == 1
    assert site(ipaddress.ip_address("2600::1")) == site(ipaddress.ip_address("2600::ffff:0:0:1"))
    assert site(ipaddress.ip_address("2600::1")) != site(ipaddress.ip_address("2600:0:0:1::1"))


async def test_places_go_past_those_who_wait_for_a_full_site() -> None:
    places, order = Places(total=3, each=1), list[str]()
    leave = {name: asyncio.Event() for name in "abcd"}

    async def stay(name: str, *sites: str) -> None:
        async with places.take(sites):
            order.append(name)
            await leave[name].wait()

    async with asyncio.TaskGroup() as group:
        group.create_task(stay("a", "x"))
        group.create_task(stay("b", "x", "y"))
        group.create_task(stay("c", "y"))
        await asyncio.sleep(0.01)
        assert order == ["a", "c"]  # b waits for x, and holds up nobody at y
        leave["a"].set()
        await asyncio.sleep(0.01)
        assert order == ["a", "c"]  # y is full now
        leave["c"].set()
        await asyncio.sleep(0.01)
        assert order == ["a", "c", "b"]
        leave["b"].set()


@pytest.mark.parametrize("leaves_before_its_turn", [True, False])
async def test_a_place_that_nobody_waits_for_any_more_is_free_again(leaves_before_its_turn: bool) -> None:
    places = Places(total=1, each=1)

    async def stay() -> None:
        async with places.take("x"):
            pytest.fail("it had left")

    async with places.take("x"):
        waiting = asyncio.create_task(stay())
        await asyncio.sleep(0)
        if leaves_before_its_turn:
            waiting.cancel()
    waiting.cancel()  # granted by now, but not run yet
    await asyncio.gather(waiting, return_exceptions=True)
    async with asyncio.timeout(5), places.take("x"):
        pass


async def test_names_that_nobody_answers_for_hold_up_no_other_work() -> None:
    release = threading.Event()

    def look_up(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        release.wait(30)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80))]

    resolver = SystemResolver(40, look_up)
    hung = [asyncio.create_task(resolver.resolve(f"n{n}.test", 80)) for n in range(40)]
    await asyncio.sleep(0)
    assert await asyncio.wait_for(asyncio.to_thread(int, "1"), 5) == 1
    waiting = asyncio.create_task(resolver.resolve("one-more.test", 80))
    for task in hung:
        task.cancel()
    await asyncio.gather(*hung, return_exceptions=True)
    assert not waiting.done(), "a cancelled look-up still has its thread"
    release.set()
    assert [answer["host"] for answer in await asyncio.wait_for(waiting, 5)] == ["127.0.0.1"]


async def test_what_a_look_up_raises_reaches_the_caller() -> None:
    def look_up(host: str, *_: object, **__: object) -> list[tuple[object, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    with pytest.raises(OSError, match="unknown"):
        await SystemResolver(1, look_up).resolve("nowhere.test", 80)
