"""The life of groups, alike for images and faces: made, listed, paged through, emptied, removed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from app.inference.models import EmbedderSpec
from app.services.rows import embedding_space
from app.store.groups import GroupStore
from app.store.records import Family, GroupInfo, Page, Row, TagCount


class Groups:
    """Groups of one family.

    Args:
        store: where they are kept.
        family: images or faces.
        spec: tells of the embedding model that fills them.
    """

    def __init__(self, store: GroupStore, family: Family, spec: Callable[[], Awaitable[EmbedderSpec]]) -> None:
        self._store = store
        self._family = family
        self._spec = spec

    async def create(self, name: str, *, capacity: int, ttl_seconds: int | None = None) -> None:
        """Makes a group for about ``capacity`` rows, each kept for so long, or for good. Raises GroupExists."""
        space = embedding_space(await self._spec())
        await self._store.create(self._family, name, capacity=capacity, space=space, ttl_seconds=ttl_seconds)

    async def names(self) -> list[str]:
        """All names, sorted."""
        return await self._store.names(self._family)

    async def info(self, name: str) -> GroupInfo:
        """Capacity, number of tags and of rows. Raises GroupNotFound."""
        return await self._store.info(self._family, name)

    async def remove(self, name: str, *, count: bool = False) -> int | None:
        """Removes the group with all its rows; their number where ``count`` asks for it. Raises GroupNotFound."""
        return await self._store.remove(self._family, name, count=count)

    async def delete(self, name: str, ids: Sequence[str]) -> list[str]:
        """Deletes rows and returns the ids that were there. Raises GroupNotFound."""
        return await self._store.delete(self._family, name, ids)

    async def rows(self, name: str, *, tag: str | None, after: str | None, limit: int) -> Page[Row]:
        """One page of rows in the order of their ids. Raises GroupNotFound."""
        return await self._store.rows(self._family, name, tag=tag, after=after, limit=limit)

    async def row(self, name: str, id: str) -> Row:  # noqa: A002 (the API's word)
        """One row. Raises GroupNotFound, ImageNotFound."""
        return await self._store.row(self._family, name, id)

    async def tags(self, name: str, *, after: str | None, limit: int) -> tuple[GroupInfo, Page[TagCount]]:
        """The group and one page of its tags, sorted. Raises GroupNotFound."""
        info = await self._store.info(self._family, name)
        return info, await self._store.tags(self._family, name, after=after, limit=limit)
