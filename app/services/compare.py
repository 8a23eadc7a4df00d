"""What happens when every face of one group is looked for in another."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from app.inference.models import EmbedderSpec
from app.services.budget import MemoryBudget
from app.services.closest import Block, Closest
from app.services.rows import RowGate, ScoredRow, Terms
from app.services.threads import in_thread
from app.store.groups import GroupStore
from app.store.records import Family, Metric, Row
from app.vision.calibration import Calibration, calibration

ResultT = TypeVar("ResultT")

_BASE_ROWS = 4096  # read and multiplied together
_BLOCKS_PER_SIGN = 16  # read between two signs of life: 65,536 rows, some seconds
_TARGET_ROWS = 1024
_TARGET_ROWS_PER_READING = 4096  # where all of the base group is read for each block of the target group
_KEPT_PAIRS = 1_000_000  # of one block: 24 MB
_HITS_AT_ONCE = 500  # hits whose rows are read, and written to the client, together
_ID_BYTES = 256  # what an id takes in memory, as a rule


@dataclass(frozen=True, slots=True)
class ComparedFace:
    """A face of the target group and the faces of the base group like it, best first."""

    row: Row
    hits: list[ScoredRow]


@dataclass(frozen=True, slots=True)
class _Found:
    """A face of the target group and what was found for it: ids of the base group with their scores, best first."""

    id: str
    scores: dict[str, float]


class Compare:
    """Compares groups of faces.

    Args:
        store: where rows are kept.
        spec: tells of the model that embeds faces.
        threads: multiplies.
        memory: bytes of embeddings that all comparisons together may hold.
    """

    def __init__(
        self,
        store: GroupStore,
        spec: Callable[[], Awaitable[EmbedderSpec]],
        threads: ThreadPoolExecutor,
        memory: MemoryBudget,
    ) -> None:
        self._store = store
        self._spec = spec
        self._threads = threads
        self._memory = memory
        self._gate = RowGate(store, Family.FACE)

    async def compare(self, base: str, target: str, terms: Terms) -> AsyncGenerator[list[ComparedFace], None]:
        """Every face of the target group that has a hit in the base group, with its hits, by the target's ids.

        A face is not its own hit where both are one group. Rows that change meanwhile are seen before or after.

        Yields:
            Some faces at a time; none where a stretch of the target group has no hit, and now and then while a large
            base group is read: a sign of life for whoever waits.

        Raises:
            GroupNotFound, ModelMismatch: before the first faces.
        """
        spec = await self._spec()
        for group in (base, target):
            await self._gate.admits(group, spec)
        size = (await self._store.info(Family.FACE, base)).count * (4 * spec.dimension + _ID_BYTES)
        async with AsyncExitStack() as stack:
            blocks: list[Block] | None = None
            if size <= self._memory.total:
                await stack.enter_async_context(self._memory.hold(size))
                blocks = []
                async for block in self._blocks(base, spec, _BASE_ROWS):
                    blocks.append(block)
                    if len(blocks) % _BLOCKS_PER_SIGN == 0:
                        yield []
            rows = min(_TARGET_ROWS if blocks is not None else _TARGET_ROWS_PER_READING, _KEPT_PAIRS // terms.limit)
            async for block in self._blocks(target, spec, rows):
                others = _each(blocks) if blocks is not None else self._blocks(base, spec, _BASE_ROWS)
                found = await self._found(block, others, spec, terms, skip_same_ids=base == target)
                for portion in _portions(found):
                    yield await self._with_rows(base, target, portion)
                if not found:
                    yield []

    async def _blocks(self, group: str, spec: EmbedderSpec, rows: int) -> AsyncIterator[Block]:
        after: str | None = None
        while True:
            page = await self._store.embeddings(Family.FACE, group, after=after, limit=rows)
            if page.ids:
                yield await in_thread(self._threads, partial(Block.of, page.ids, page.vectors, Metric(spec.metric)))
            after = page.after
            if after is None:
                return

    async def _found(
        self, block: Block, others: AsyncIterator[Block], spec: EmbedderSpec, terms: Terms, *, skip_same_ids: bool
    ) -> list[_Found]:
        scale = calibration(spec.calibration)
        closest = Closest(block, Metric(spec.metric), bound=scale.bound(terms.threshold), limit=terms.limit)
        ids: list[str] = []
        async for other in others:
            await in_thread(self._threads, partial(closest.pass_by, other, skip_same_ids=skip_same_ids))
            ids += other.ids
        return await in_thread(self._threads, lambda: _scored(block, closest, ids, scale, terms))

    async def _with_rows(self, base: str, target: str, found: list[_Found]) -> list[ComparedFace]:
        rows = await self._store.rows_of(Family.FACE, target, [each.id for each in found])
        others = await self._store.rows_of(
            Family.FACE, base, list(dict.fromkeys(other for each in found for other in each.scores))
        )
        faces = []
        for each in found:
            hits = [ScoredRow(others[other], score) for other, score in each.scores.items() if other in others]
            if each.id in rows and hits:  # both may have been deleted meanwhile
                faces.append(ComparedFace(rows[each.id], hits))
        return faces


def _scored(block: Block, closest: Closest, ids: list[str], scale: Calibration, terms: Terms) -> list[_Found]:
    of_rows: dict[int, list[tuple[float, str]]] = {}
    for row, other, measure in closest.pairs():
        if (score := scale.score(measure)) >= terms.threshold:
            of_rows.setdefault(row, []).append((-score, ids[other]))
    return [
        _Found(block.ids[row], {name: -negative for negative, name in sorted(hits)}) for row, hits in of_rows.items()
    ]


def _portions(found: list[_Found]) -> Iterator[list[_Found]]:
    portion: list[_Found] = []
    hits = 0
    for each in found:
        portion.append(each)
        hits += len(each.scores)
        if hits >= _HITS_AT_ONCE:
            yield portion
            portion, hits = [], 0
    if portion:
        yield portion


async def _each(blocks: list[Block]) -> AsyncIterator[Block]:
    for block in blocks:
        yield block
