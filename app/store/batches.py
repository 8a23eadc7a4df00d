"""Cuts many records into writes that every engine takes in one call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from app.store.records import Record

# A server refuses calls over 64 MiB; a writer of many batches shall not keep others waiting for long either.
_MOST_ROWS = 1000
_MOST_BYTES = 4 << 20
_BOX_BYTES = 200


async def batches(records: AsyncIterator[Record]) -> AsyncGenerator[list[Record], None]:
    """The records in their order, some at a time."""
    batch: list[Record] = []
    size = 0
    async for record in records:
        row = record.row
        cost = record.embedding.nbytes + len(row.id.encode()) + len(row.tag.encode()) + len(row.desc.encode())
        if batch and (len(batch) == _MOST_ROWS or size + cost > _MOST_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += cost + _BOX_BYTES
    if batch:
        yield batch
