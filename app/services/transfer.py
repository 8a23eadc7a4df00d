"""What happens when a group leaves the service as a whole, and when it comes back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass

from app.errors import DamagedFile, GroupNotFound, IdExists, Limit, ModelMismatch, Overloaded
from app.inference.models import EmbedderSpec
from app.services.rows import embedding_space
from app.store.batches import batches
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Held, Record


@dataclass(frozen=True, slots=True)
class GroupFacts:
    """What is to be known of a group before its rows.

    Attributes:
        family: images or faces.
        name: its name.
        capacity: what it was made for.
        space: which model made its embeddings.
        count: its rows; what is written meanwhile may change that.
        ttl_seconds: how long each row is kept; None for good.
    """

    family: Family
    name: str
    capacity: int
    space: EmbeddingSpace
    count: int
    ttl_seconds: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Export:
    """A group on its way out.

    Attributes:
        facts: what it is.
        portions: its rows in the order of their ids, some at a time.
    """

    facts: GroupFacts
    portions: AsyncGenerator[Sequence[Record], None]


@dataclass(frozen=True, slots=True, eq=False)
class HeldRows:
    """Some of the rows of a group that are held under an id or a tag, and which model made their embeddings."""

    family: Family
    group: str
    space: EmbeddingSpace
    records: Sequence[Record]


class GroupTransfer:
    """Exports and restores groups.

    Args:
        store: where rows are kept.
        specs: tell of the models that embed images and faces.
        most: exports and restores that may be at work at the same time.
    """

    def __init__(
        self, store: GroupStore, specs: Mapping[Family, Callable[[], Awaitable[EmbedderSpec]]], *, most: int
    ) -> None:
        self._store = store
        self._specs = specs
        self._free = most

    @asynccontextmanager
    async def export(self, family: Family, name: str) -> AsyncIterator[Export]:
        """Yields a group; no model is needed, and writers are let in between its portions.

        Raises:
            GroupNotFound: also while it is read, where it is removed meanwhile.
            Overloaded: too many exports and restores are at work.
        """
        with self._permit():
            space = await self._store.space(family, name)
            info = await self._store.info(family, name)
            async with aclosing(self._store.records(family, name)) as portions:
                facts = GroupFacts(family, name, info.capacity, space, info.count, info.ttl_seconds)
                yield Export(facts, portions)

    @asynccontextmanager
    async def held(
        self, groups: Sequence[tuple[Family, str]], under: Held
    ) -> AsyncIterator[AsyncGenerator[HeldRows, None]]:
        """Yields what is held under ids and tags in some groups, one after the other.

        A group that is removed meanwhile is passed over.

        Raises:
            Overloaded: too many exports and restores are at work.
        """
        with self._permit():
            async with aclosing(self._held(groups, under)) as found:
                yield found

    async def _held(self, groups: Sequence[tuple[Family, str]], under: Held) -> AsyncGenerator[HeldRows, None]:
        for family, name in groups:
            with suppress(GroupNotFound):
                space = await self._store.space(family, name)
                async with aclosing(self._store.records(family, name, held=under)) as portions:
                    async for records in portions:
                        yield HeldRows(family, name, space, records)

    async def groups(self) -> list[tuple[Family, str]]:
        """All groups there are."""
        return [(family, name) for family in Family for name in await self._store.names(family)]

    async def restore(self, facts: GroupFacts, records: AsyncIterator[Record]) -> int:
        """Makes a group of records, which appears whole or, where they raise, not at all.

        Args:
            facts: of the group.
            records: all of its rows.

        Returns:
            The number of rows, without those whose time was over.

        Raises:
            GroupExists: there is one of that name.
            ModelMismatch: the embeddings are not those of the model that is served.
            DamagedFile: an id is there twice.
            Overloaded: too many exports and restores are at work.
        """
        with self._permit():
            served = embedding_space(await self._specs[facts.family]())
            if served != facts.space:
                raise ModelMismatch(
                    f"The file holds embeddings of the model {facts.space.described}, but {served.described} is "
                    "served: serve that model, or create a new group and add the images again."
                )
            count = 0
            async with self._store.filling(
                facts.family, facts.name, capacity=facts.capacity, space=facts.space, ttl_seconds=facts.ttl_seconds
            ) as group:
                async for batch in batches(records):
                    try:
                        await group.add(batch)
                    except IdExists as error:
                        message = f"The id of row {count + (error.index or 0) + 1} is in the file before: each is once."
                        raise DamagedFile(message) from error
                    count += len(batch)
            return group.added

    @contextmanager
    def _permit(self) -> Iterator[None]:
        if not self._free:
            message = "As many groups as may be are being exported or restored: try again later."
            raise Overloaded(message, limit=Limit.TRANSFERS)
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1
