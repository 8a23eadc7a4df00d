"""Parts of a request side by side."""

from __future__ import annotations

import asyncio

import pytest

from app.errors import UndecodableImage
from app.services.fan_out import for_each


async def test_results_come_in_the_order_of_the_items() -> None:
    async def work(item: int) -> int:
        await asyncio.sleep((3 - item) / 1000)
        return item * 10

    assert await for_each([0, 1, 2], work) == [0, 10, 20]
    assert await for_each([], work) == []


async def test_the_first_failure_stops_the_others_and_names_its_item() -> None:
    ended: list[str] = []

    async def work(item: str) -> str:
        if item == "bad":
            await asyncio.sleep(0)
            message = "no image"
            raise UndecodableImage(message)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append(item)
            raise
        return item

    with pytest.raises(UndecodableImage) as caught:
        await for_each(["a", "bad", "c"], work)
    assert caught.value.index == 1
    assert ended == ["a", "c"]


async def test_a_cancelled_request_cancels_all_of_its_parts() -> None:
    ended: list[int] = []

    async def work(item: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(item)

    request = asyncio.create_task(for_each([1, 2], work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    assert ended == [1, 2]
