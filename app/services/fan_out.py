"""Runs the parts of one request side by side: all succeed, or the request fails for one reason."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from app.errors import LikenessError

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


async def for_each(items: Sequence[ItemT], work: Callable[[ItemT], Awaitable[ResultT]]) -> list[ResultT]:
    """Results of ``work`` for every item, in order.

    At the first failure the other items are cancelled and awaited: nothing goes on behind an answered request.

    Raises:
        LikenessError: the failure of the first item, in order of the list, that failed; its ``index`` is set.
    """

    async def one(index: int, item: ItemT) -> ResultT:
        try:
            return await work(item)
        except LikenessError as error:
            error.index = index
            raise

    tasks = [asyncio.ensure_future(one(index, item)) for index, item in enumerate(items)]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        for outcome in ended:
            if isinstance(outcome, LikenessError):
                raise outcome from None
        raise
