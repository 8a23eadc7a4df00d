"""The end of a store: writes that have begun end, but nobody waits for ever for a Milvus that does not answer."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from app.store.access import Access
from app.store.connection import Connection


async def test_a_write_under_way_is_waited_for_at_the_end_and_given_up_after_a_while() -> None:
    access = Access(cast("Connection", None))  # it is not asked for what runs already
    answered, silent = asyncio.Event(), asyncio.Event()
    writes = [asyncio.create_task(access.finish(event.wait())) for event in (answered, silent)]
    closing = asyncio.create_task(access.close(timeout=0.2))
    await asyncio.sleep(0.01)
    answered.set()
    assert await writes[0]
    assert not closing.done()
    await closing
    with pytest.raises(asyncio.CancelledError):
        await writes[1]
