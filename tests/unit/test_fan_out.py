"""Parts of a request side by side."""

from __future__ import annotations

import asyncio

import pytest

from app.errors import BackendUnavailable, FetchFailed, UndecodableImage
from app.services.fan_out import for_each, for_each_face, for_each_image


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
        await for_each_image(["a", "bad", "c"], work)
    assert caught.value.index == 1
    assert ended == ["a", "c"]


@pytest.mark.parametrize("items", [[1], [1, 2]])
async def test_a_cancelled_request_is_cancelled_whatever_its_parts_end_with(items: list[int]) -> None:
    async def work(item: int) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            message = "the model is closing"
            raise BackendUnavailable(message) from None

    request = asyncio.create_task(for_each(items, work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


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


async def test_a_model_that_is_down_is_no_images_fault() -> None:
    async def work(uri: str) -> None:
        message = "no model"
        raise BackendUnavailable(message)

    with pytest.raises(BackendUnavailable) as caught:
        await for_each_image(["a", "b"], work)
    assert caught.value.index is None


async def test_the_first_bad_image_of_the_list_is_named_with_its_own_cause() -> None:
    async def work(uri: str) -> None:
        if uri == "slow":
            try:
                await asyncio.sleep(60)
            finally:
                message = "gone too"
                raise FetchFailed(message) from OSError("reset")
        message = "refused"
        raise FetchFailed(message) from OSError("refused by the host")

    with pytest.raises(FetchFailed) as caught:
        await for_each_image(["slow", "fast"], work)
    assert caught.value.index == 0
    assert str(caught.value.__cause__) == "reset"


async def test_a_cancelled_request_stays_cancelled_whatever_its_parts_end_with() -> None:
    async def work(item: int) -> None:
        try:
            await asyncio.sleep(60)
        finally:
            message = "gone"
            raise FetchFailed(message)

    request = asyncio.create_task(for_each([1, 2], work))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request


async def test_one_request_has_only_a_few_images_at_work() -> None:
    working = most = 0

    async def work(uri: str) -> None:
        nonlocal working, most
        working += 1
        most = max(most, working)
        await asyncio.sleep(0)
        working -= 1

    await for_each_image(["x"] * 32, work)
    assert most == 8


async def test_the_faces_of_a_crowd_follow_each_other_without_waiting_for_the_slowest() -> None:
    begun: list[int] = []
    slow = asyncio.Event()

    async def work(face: int) -> int:
        begun.append(face)
        if face == 0:
            await slow.wait()
        elif face == 39:
            slow.set()
        return face

    assert await for_each_face(range(40), work) == list(range(40))
    assert begun == list(range(40))
