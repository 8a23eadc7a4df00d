"""Runs the parts of one request side by side: all succeed, or the request fails for one reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from app.errors import FetchFailed, FetchTimeout, InvalidRequest, LikenessError, TooLarge, UndecodableImage

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

# What an image of a list can be to blame for; a model that is down is nobody's item's fault.
_OF_THE_ITEM = (InvalidRequest, TooLarge, UndecodableImage, FetchFailed, FetchTimeout)
# Images of one request at work together: one request must not take the whole service for itself.
_AT_ONCE = 8


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


async def for_each_image(uris: Sequence[str], work: Callable[[str], Awaitable[ResultT]]) -> list[ResultT]:
    """As ``for_each``, a few at a time, and an error that an image is to blame for names its ``index``."""
    free = asyncio.Semaphore(_AT_ONCE)

    async def one(place: tuple[int, str]) -> ResultT:
        index, uri = place
        try:
            async with free:
                return await work(uri)
        except _OF_THE_ITEM as error:
            error.index = index
            raise

    return await for_each(list(enumerate(uris)), one)
