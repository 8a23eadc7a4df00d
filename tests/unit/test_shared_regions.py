"""Regions shared with a Triton: reuse, a server that cannot open them, one that was replaced."""

from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest
from tritonclient.utils import InferenceServerException

from app.inference.shared_memory import SharedRegions


class Server:
    """What a Triton does with regions: on the same machine it maps them, elsewhere it refuses them."""

    def __init__(self, *, refusal: str = "") -> None:
        self.refusal = refusal
        self.mapped: dict[str, mmap.mmap] = {}

    async def register_system_shared_memory(self, name: str, key: str, size: int, *, client_timeout: float) -> None:
        if self.refusal:
            message = "Unable to open shared memory region"
            raise InferenceServerException(message, status=self.refusal)
        descriptor = os.open(f"/dev/shm{key}", os.O_RDWR)
        self.mapped[name] = mmap.mmap(descriptor, size)
        os.close(descriptor)

    async def unregister_system_shared_memory(self, name: str, *, client_timeout: float) -> None:
        self.mapped.pop(name).close()


def names() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("likeness-*")}


async def test_the_server_reads_what_was_put_in_and_a_region_serves_the_next_call() -> None:
    server = Server()
    regions = SharedRegions(server)
    before = names()
    for value in (3, 7):
        async with regions.holding([np.full((2, 5), value, np.int16)]) as regions_held:
            assert regions_held is not None
            [region] = regions_held
            assert np.frombuffer(server.mapped[region.name], np.int16, 10).tolist() == [value] * 10
    assert len(server.mapped) == 1
    assert names() == before
    await regions.close()
    assert server.mapped == {}


async def test_calls_at_work_together_have_regions_of_their_own() -> None:
    regions = SharedRegions(Server())
    one, other = np.zeros(4, np.uint8), np.ones(4, np.uint8)
    async with regions.holding([one]) as first, regions.holding([other]) as second:
        assert first is not None
        assert second is not None
        assert (first[0].memory[:4], second[0].memory[:4]) == (bytes(4), b"\1\1\1\1")


async def test_the_inputs_of_one_call_lie_in_regions_of_their_own_and_are_there_for_the_next() -> None:
    regions = SharedRegions(Server())
    names_of_calls = []
    for _ in range(2):
        async with regions.holding([np.zeros(4, np.uint8), np.ones(100_000, np.uint8)]) as both:
            assert both is not None
            assert [region.memory[0] for region in both] == [0, 1]
            names_of_calls.append({region.name for region in both})
    assert len(names_of_calls[0]) == 2
    assert names_of_calls[0] == names_of_calls[1]


async def test_a_server_elsewhere_is_asked_once_and_nothing_is_left_behind() -> None:
    server, before = Server(refusal="StatusCode.INVALID_ARGUMENT"), names()
    regions = SharedRegions(server)
    async with regions.holding([np.zeros(4, np.uint8)]) as region:
        assert region is None
    server.refusal = ""
    async with regions.holding([np.zeros(4, np.uint8)]) as region:
        assert region is None
    assert names() == before


async def test_a_server_that_is_away_is_not_taken_for_one_elsewhere() -> None:
    server = Server(refusal="StatusCode.UNAVAILABLE")
    regions = SharedRegions(server)
    with pytest.raises(InferenceServerException):
        async with regions.holding([np.zeros(4, np.uint8)]):
            pass
    server.refusal = ""
    async with regions.holding([np.zeros(4, np.uint8)]) as region:
        assert region is not None


async def test_regions_of_a_server_that_was_replaced_are_not_used_again() -> None:
    server = Server()
    regions = SharedRegions(server)
    async with regions.holding([np.zeros(4, np.uint8)]) as first:
        regions.forget()
    async with regions.holding([np.zeros(4, np.uint8)]) as second:
        assert first is not None
        assert second is not None
        assert second[0].name != first[0].name
