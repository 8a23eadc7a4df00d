"""Several Triton servers over real gRPC and HTTP: sharing, failing over, coming back, and never mixing models."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest

from app.errors import BackendUnavailable, InternalError
from app.inference import server as server_module
from app.inference import servers as servers_module
from app.inference.addresses import Address, Entry, entries, resolved, unique
from app.inference.identity import Told
from app.inference.servers import ModelReplaced, TritonServers
from tests.small_triton import MODEL, SmallTriton, small_tritons


@pytest.fixture(autouse=True, params=["grpc", "http"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How batches go to the servers."""
    monkeypatch.setattr(SmallTriton, "speaks_http", request.param == "http")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other faster than an operator would want."""
    for name, seconds in [("CHECK_EVERY", 0.1), ("OFTEN", 0.02), ("SELDOM", 0.1), ("FIRST_REST", 0.1)]:
        monkeypatch.setattr(server_module, f"_{name}_S", seconds)
    monkeypatch.setattr(servers_module, "_RESOLVE_EVERY_S", 0.05)
    monkeypatch.setattr(servers_module, "_ANOTHER_AFTER_S", 0.5)


@pytest.fixture
def soon_late(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look is late after a moment, which on a busy machine may befall servers that are well: but never the last."""
    monkeypatch.setattr(server_module, "_CHECK_TIMEOUT_S", 0.3)


@asynccontextmanager
async def connected(*tritons: SmallTriton, timeout: float = 20) -> AsyncIterator[tuple[TritonServers, Told]]:
    async with TritonServers(",".join(triton.entry for triton in tritons), [MODEL], timeout=timeout) as servers:
        yield servers, await servers.told(MODEL)


async def infer(servers: TritonServers, told: Told, value: int = 1) -> int:
    outputs = await servers.infer(MODEL, told, {"IN": np.array([[value]])}, ["DOUBLE"])
    return int(outputs["DOUBLE"][0, 0])


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


async def get_work(servers: TritonServers, told: Told, *tritons: SmallTriton) -> None:
    """Sends batches until each of the servers got one."""
    before = [len(triton.batches) for triton in tritons]
    async with asyncio.timeout(20):
        while any(len(triton.batches) == count for triton, count in zip(tritons, before, strict=True)):
            await infer(servers, told)


async def test_a_batch_goes_to_the_server_with_least_work() -> None:
    async with small_tritons("one", "one") as (slow, quick), connected(slow, quick) as (servers, told):
        slow.gate.clear()
        waiting = [asyncio.create_task(infer(servers, told)) for _ in range(2)]
        # Until the answer has come, not only the question has gone: as busy as the other, it would not be preferred.
        await until(lambda: len(slow.batches) == 1 and any(task.done() for task in waiting))
        assert [await infer(servers, told, value) for value in range(5)] == [0, 2, 4, 6, 8]
        assert (len(slow.batches), len(quick.batches)) == (1, 6)
        assert [server.in_flight for server in servers.servers] == [1, 0]
        slow.gate.set()
        assert await asyncio.gather(*waiting) == [2, 2]


async def test_batches_at_work_are_bounded_for_each_server_by_its_instances() -> None:
    async with small_tritons("one", "one") as (small, large):
        large.instances = 3
        async with connected(small, large) as (servers, _):
            assert servers.slots(MODEL, 0) == 2 + 4
            assert servers.slots(MODEL, 5) == 10
            await large.stop()
            await until(lambda: servers.slots(MODEL, 0) == 2)


async def test_batches_of_a_server_that_dies_are_answered_by_another_and_it_gets_work_again_when_it_is_back() -> None:
    async with small_tritons("one", "one") as (dying, other), connected(dying, other) as (servers, told):
        dying.gate.clear()
        waiting = [asyncio.create_task(infer(servers, told, value)) for value in range(4)]
        await until(lambda: bool(dying.batches))
        await dying.stop()
        assert await asyncio.gather(*waiting) == [0, 2, 4, 6]
        await until(lambda: servers.servers[0].problem == "does not answer")
        assert await servers.ready(MODEL, timeout=5)
        dying.gate.set()
        await dying.start()
        await get_work(servers, told, dying, other)
        assert servers.servers[0].problem == ""
        assert servers.servers[0].replicas[MODEL].failed == 2
        assert servers.servers[0].ejections == 1


@pytest.mark.usefixtures("soon_late")
async def test_batches_of_a_server_that_hangs_are_taken_to_another_and_it_gets_work_again_when_it_moves() -> None:
    async with small_tritons("one", "one") as (hanging, other), connected(hanging, other) as (servers, told):
        hanging.hangs = True
        # The calls may take 20 seconds: nobody waits for that.
        async with asyncio.timeout(10):
            assert await asyncio.gather(*(infer(servers, told, value) for value in range(4))) == [0, 2, 4, 6]
        assert len(hanging.batches) == 2
        hanging.hangs = False
        await get_work(servers, told, hanging, other)


@pytest.mark.usefixtures("soon_late")
async def test_the_only_server_is_waited_for_however_slow_it_is() -> None:
    async with small_tritons("one") as (only,), connected(only) as (servers, told):
        only.hangs = True
        answer = asyncio.create_task(infer(servers, told, 4))
        await asyncio.sleep(1)  # several looks are late
        assert servers.servers[0].reachable
        only.hangs = False
        assert await answer == 8
        assert len(only.batches) == 1


async def test_a_model_that_does_not_answer_gets_one_batch_on_trial_until_it_does() -> None:
    async with small_tritons("one", "one") as (stuck, other), connected(stuck, other, timeout=0.3) as (servers, told):
        stuck.stuck = True
        assert await asyncio.gather(*(infer(servers, told, value) for value in range(4))) == [0, 2, 4, 6]
        assert len(stuck.batches) == 2
        await until(lambda: not servers.servers[0].replicas[MODEL].is_resting)
        assert await asyncio.gather(*(infer(servers, told, value) for value in range(8))) == list(range(0, 16, 2))
        assert len(stuck.batches) == 3
        stuck.stuck = False
        await get_work(servers, told, stuck, other)


async def test_a_batch_that_a_server_fails_with_is_tried_on_the_others_and_by_one_alone_only_where_that_may_help() -> (
    None
):
    async with small_tritons("one", "one") as (first, second), connected(first, second) as (servers, told):
        first.fault = "out of memory"
        assert [await infer(servers, told, value) for value in range(3)] == [0, 2, 4]
        second.fault = "out of memory"
        with pytest.raises(InternalError, match="could not process this input"):
            await infer(servers, told)
        first.fault = second.fault = "Stub process 'doubler_0_1' is not healthy."
        with pytest.raises(BackendUnavailable):
            await infer(servers, told)


async def test_a_server_with_another_model_is_left_out_with_a_sentence_until_it_serves_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.ERROR, "likeness.triton"):
        async with small_tritons("other", "one", "one") as (odd, *rest), connected(odd, *rest) as (servers, told):
            for value in range(6):
                assert (await servers.told(MODEL)).identity == told.identity
                assert await infer(servers, told, value) == 2 * value
            assert odd.batches == []
            assert [len(triton.batches) for triton in rest] == [3, 3]
            difference = "serves another doubler than the one in use (model_id other instead of one)"
            assert [server.problem for server in servers.servers] == [difference, "", ""]
            told_of = [record.getMessage() for record in caplog.records if record.name == "likeness.triton"]
            assert told_of == [f"The Triton at {odd.address} {difference}: it is left out"]
            await odd.stop()
            odd.model_id = "one"
            await odd.start()
            await get_work(servers, told, odd)


async def test_another_model_is_taken_when_no_server_has_the_one_in_use_any_more() -> None:
    async with small_tritons("one", "two") as (first, second), connected(first, second) as (servers, told):
        await first.stop()
        with pytest.raises(BackendUnavailable):
            await infer(servers, told)
        assert second.batches == []
        # Not at once: the first may be back in a moment.
        await until(lambda: servers.servers[1].problem == "")
        with pytest.raises(ModelReplaced):
            await infer(servers, told)
        assert await infer(servers, await servers.told(MODEL)) == 2


async def test_a_server_that_comes_back_with_another_model_gets_no_batch_of_the_old_one() -> None:
    async with small_tritons("one") as (only,), connected(only) as (servers, told):
        await only.stop()
        only.model_id = "two"
        await only.start()
        with pytest.raises((ModelReplaced, BackendUnavailable)):
            await infer(servers, told)
        await until(lambda: servers.servers[0].problem == "")
        with pytest.raises(ModelReplaced):
            await infer(servers, told)
        assert only.batches == []


async def test_each_address_of_a_name_is_a_server_and_comes_and_goes_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async with small_tritons("one", "one") as (first, second):
        addresses = [first.both_addresses]

        async def name_server(entry: Entry) -> list[Address]:  # there is no name server here whose answers could change
            assert entry == Entry("tritons", 8001, several=True)
            if not addresses:
                raise OSError("not known")
            return [*addresses]

        monkeypatch.setattr(servers_module, "resolved", name_server)
        async with TritonServers("dns:tritons:8001", [MODEL], timeout=20) as servers:
            told = await servers.told(MODEL)
            addresses.append(second.both_addresses)
            await get_work(servers, told, first, second)
            del addresses[0]
            await until(lambda: len(servers.servers) == 1)
            addresses.clear()
            await get_work(servers, told, second)


async def test_the_list_of_servers_is_read_and_a_name_gives_each_of_its_servers_once() -> None:
    assert entries("a:1, dns:b.c:2 ,[::1]:3/4") == [
        Entry("a", 1, several=False),
        Entry("b.c", 2, several=True),
        Entry("[::1]", 3, several=False, http_port=4),
    ]
    assert await resolved(Entry("a", 1, several=False)) == [("a:1", "")]
    # A machine may give it two addresses, one of each family.
    assert await resolved(Entry("localhost", 2, several=True, http_port=3)) in (
        [("127.0.0.1:2", "127.0.0.1:3")],
        [("[::1]:2", "[::1]:3")],
    )
    assert unique([Address("a:1"), Address("b:1"), Address("a:1", "a:2")]) == [("a:1", ""), ("b:1", "")]


async def test_an_answer_to_another_call_is_no_answer() -> None:
    async with small_tritons("one") as (triton,):
        triton.echoes = True
        async with connected(triton) as (servers, told):
            assert await infer(servers, told, 1) == 2
            triton.mixes = True
            with pytest.raises(BackendUnavailable):
                await infer(servers, told, 7)
            triton.mixes = False
            assert await infer(servers, told, 9) == 18


async def test_an_answer_for_a_batch_of_another_size_is_no_answer() -> None:
    async with small_tritons("one") as (triton,), connected(triton) as (servers, told):
        assert await infer(servers, told, 1) == 2
        triton.mixes = True
        with pytest.raises(BackendUnavailable):
            await servers.infer(MODEL, told, {"IN": np.array([[3], [4]])}, ["DOUBLE"])


async def test_many_that_wait_for_a_server_that_hangs_wait_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers_module, "_READ_TIMEOUT_S", 0.3)
    monkeypatch.setattr(server_module, "_TOLD_AGE_S", 0.1)
    async with small_tritons("one") as (triton,), connected(triton) as (servers, told):
        triton.hangs = True
        await asyncio.sleep(0.2)  # what it said of itself is old by then
        asked = triton.asked
        answers = await asyncio.gather(*(infer(servers, told) for _ in range(30)), return_exceptions=True)
        assert {type(answer) for answer in answers} == {BackendUnavailable}
        assert triton.asked - asked < 10, "they asked one after the other"
