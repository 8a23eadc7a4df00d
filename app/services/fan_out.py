"""Runs the parts of one request side by side: all succeed, or the request fails for one reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

from app.errors import FetchFailed, FetchTimeout, InvalidRequest, LikenessError, TooLarge, UndecodableImage

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

# What an image of a list can be to blame for; a model that is down is nobody's item's fault.
_OF_THE_ITEM = (InvalidRequest, TooLarge, UndecodableImage, FetchFailed, FetchTimeout)
# Images of one request at work together: one request must not take the whole service for itself.
_AT_ONCE = 8
# Faces of one image at work together.
_FACES_AT_ONCE = 16


async def for_each(items: Sequence[ItemT], work: Callable[[ItemT], Awaitable[ResultT]]) -> list[ResultT]:
    """Results of ``work`` for every item, in order.

    At the first failure the other items are cancelled and awaited: nothing goes on behind an answered request.

    Raises:
        LikenessError: the failure of the first item, in order of the list, that failed.
    """
    tasks = [asyncio.ensure_future(work(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    except BaseException as first:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        caller = asyncio.current_task()
        if isinstance(first, asyncio.CancelledError) or (caller is not None and caller.cancelling()):
            raise asyncio.CancelledError from first  # whatever its parts ended with
        for outcome in ended:
            if isinstance(outcome, LikenessError):
                # With its own cause, which the log tells; not with ours, which may be a later item's failure.
                raise outcome from outcome.__cause__
        raise


async def side_by_side(one: Awaitable[ItemT], other: Awaitable[ResultT]) -> tuple[ItemT, ResultT]:
    """Both results; as ``for_each``."""
    outcomes: list[object] = await for_each((one, other), _awaited)
    return cast("tuple[ItemT, ResultT]", tuple(outcomes))


async def _awaited(awaitable: Awaitable[object]) -> object:
    return await awaitable


async def in_portions(items: Sequence[ItemT], work: Callable[[ItemT], Awaitable[ResultT]]) -> list[ResultT]:
    """As ``for_each``, some at a time: a crowd in one photo must not fill the queue of all."""
    results: list[ResultT] = []
    for start in range(0, len(items), _FACES_AT_ONCE):
        results += await for_each(items[start : start + _FACES_AT_ONCE], work)
    return results


async def for_each_image(images: Sequence[ItemT], work: Callable[[ItemT], Awaitable[ResultT]]) -> list[ResultT]:
    """As ``for_each``, a few at a time, and an error that an image is to blame for names its ``index``."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(place: tuple[int, ItemT]) -> ResultT:
        index, image = place
        try:
            async with free:
                return await work(image)
        except _OF_THE_ITEM as error:
            error.index = index
            raise

    return await for_each(list(enumerate(images)), one)
