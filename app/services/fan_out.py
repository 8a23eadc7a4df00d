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
_IMAGES_AT_ONCE = 8
# Faces of one image at work together.
_FACES_AT_ONCE = 16


async def for_each(
    items: Sequence[ItemT], work: Callable[[ItemT], Awaitable[ResultT]], *, at_once: int | None = None
) -> list[ResultT]:
    """Results of ``work`` for every item, in order.

    At the first failure the other items are cancelled and awaited: nothing goes on behind an answered request.

    Args:
        items: what to work on.
        work: for one item.
        at_once: most items at work together; None: all.

    Raises:
        LikenessError: the failure of the first item, in order of the list, that failed.
    """
    if len(items) == 1:  # as a rule: one image, one face
        return [await _alone(items[0], work)]
    free = asyncio.Semaphore(at_once or len(items))

    async def one(item: ItemT) -> ResultT:
        async with free:
            return await work(item)

    tasks = [asyncio.ensure_future(one(item)) for item in items]
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


async def _alone(item: ItemT, work: Callable[[ItemT], Awaitable[ResultT]]) -> ResultT:
    try:
        return await work(item)
    except BaseException as failure:
        caller = asyncio.current_task()
        if caller is not None and caller.cancelling():
            raise asyncio.CancelledError from failure  # whatever it ended with
        raise


async def for_each_face(faces: Sequence[ItemT], work: Callable[[ItemT], Awaitable[ResultT]]) -> list[ResultT]:
    """As ``for_each``, some at a time: a crowd in one photo must not fill the queue of all."""
    return await for_each(faces, work, at_once=_FACES_AT_ONCE)


async def for_each_image(images: Sequence[ItemT], work: Callable[[ItemT], Awaitable[ResultT]]) -> list[ResultT]:
    """As ``for_each``, a few at a time, and an error that an image is to blame for names its ``index``."""

    async def one(place: tuple[int, ItemT]) -> ResultT:
        index, image = place
        try:
            return await work(image)
        except _OF_THE_ITEM as error:
            error.index = index
            raise

    return await for_each(list(enumerate(images)), one, at_once=_IMAGES_AT_ONCE)
