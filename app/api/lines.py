"""Bodies of JSON Lines, line by line, while they come."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

from app.errors import LikenessError


async def lines(chunks: AsyncIterator[bytes], *, longest: int, too_long: LikenessError) -> AsyncGenerator[bytes, None]:
    """Lines with their ends; the last one may lack it.

    Args:
        chunks: the body, in pieces of any length.
        longest: most bytes of a line.
        too_long: what to raise where one has more.
    """
    parts: list[bytes] = []
    size = 0
    async for chunk in chunks:
        head, *others = chunk.split(b"\n")
        parts.append(head)
        size += len(head)
        if size > longest:
            raise too_long
        for other in others:
            yield b"".join(parts) + b"\n"
            parts, size = [other], len(other)
    if size:
        yield b"".join(parts)
