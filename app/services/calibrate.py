"""What happens when a group is asked which thresholds suit it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from app.errors import NotCalibratable
from app.inference.models import EmbedderSpec
from app.services.budget import MemoryBudget
from app.services.error_rates import ErrorRates, error_rates
from app.services.identities import IdentityRule
from app.services.identity_sample import IdentitySample
from app.services.pair_scores import PairScores
from app.services.rows import RowGate
from app.services.threads import in_thread
from app.store.groups import GroupStore
from app.store.records import Family, Metric
from app.vision.calibration import calibration

ResultT = TypeVar("ResultT")

MAX_ROWS = 10_000  # 50 million pairs, some seconds
_LEAST_ROWS = 8
_ROWS_AT_ONCE = 1024
_ROW_BYTES = 512  # of an id, an identity and what holds them, as a rule
_COPIES = 2  # of an embedding: by itself, and in the array of all


@dataclass(frozen=True, slots=True)
class CalibrationWish:
    """What an operator wants to know of a group.

    Attributes:
        identities: tells whose image a row is.
        rates: false match rates for which thresholds are wanted.
        default_threshold: the threshold of searches that name none.
    """

    identities: IdentityRule
    rates: tuple[float, ...]
    default_threshold: float


@dataclass(frozen=True, slots=True)
class CalibrationReport:
    """Scores and thresholds of a group.

    Attributes:
        model_id: which model made the embeddings.
        count: rows of the group.
        left_out: those without an identity.
        rows: those that were compared.
        identities: whose rows these are.
        sampled: whether some rows with an identity were not compared because there are too many.
        default_threshold: the threshold of searches that name none.
        rates: what was found.
    """

    model_id: str
    count: int
    left_out: int
    rows: int
    identities: int
    sampled: bool
    default_threshold: float
    rates: ErrorRates


class Calibrate:
    """Compares all rows of a group with each other, to tell thresholds that suit it.

    Args:
        store: where rows are kept.
        specs: tell of the models that embed images and faces.
        threads: multiplies.
        memory: bytes of embeddings that all comparisons together may hold; a larger group is sampled.
        most_rows: rows to compare; of a group with more a sample is taken.
    """

    def __init__(
        self,
        store: GroupStore,
        specs: Mapping[Family, Callable[[], Awaitable[EmbedderSpec]]],
        threads: ThreadPoolExecutor,
        memory: MemoryBudget,
        *,
        most_rows: int = MAX_ROWS,
    ) -> None:
        self._store = store
        self._specs = specs
        self._threads = threads
        self._memory = memory
        self._most_rows = most_rows
        # Two at a time would each take twice as long: the first comes first.
        self._turn = asyncio.Lock()

    async def calibrate(self, family: Family, group: str, wish: CalibrationWish) -> CalibrationReport:
        """Scores of all pairs of rows of the same and of different identities.

        Rows that change meanwhile are seen before or after. A caller who leaves stops the work within a second or so.

        Raises:
            GroupNotFound, ModelMismatch.
            NotCalibratable: there is no pair of the same identity, or none of different ones.
        """
        spec = await self._specs[family]()
        await RowGate(self._store, family).admits(group, spec)
        row_bytes = _COPIES * 4 * spec.dimension + _ROW_BYTES
        most = max(_LEAST_ROWS, min(self._most_rows, self._memory.total // row_bytes))
        async with self._turn:
            count = (await self._store.info(family, group)).count
            async with self._memory.hold(min(count, most) * row_bytes):
                sample = IdentitySample(most)
                seen = await self._read(family, group, wish.identities, sample)
                _require_pairs(seen, sample, wish.identities)
                vectors, identities = await in_thread(self._threads, sample.arrays)
                scores = PairScores(vectors, identities, Metric(spec.metric), calibration(spec.calibration))
                for block in range(scores.blocks):
                    await in_thread(self._threads, partial(scores.count, block))
                rates = await in_thread(self._threads, partial(_rates, scores, wish))
        return CalibrationReport(
            model_id=spec.model_id,
            count=seen.rows,
            left_out=seen.left_out,
            rows=sample.rows,
            identities=sample.identities,
            sampled=sample.sampled,
            default_threshold=wish.default_threshold,
            rates=rates,
        )

    async def _read(self, family: Family, group: str, rule: IdentityRule, sample: IdentitySample) -> _Seen:
        rows = left_out = 0
        last: str | None = None
        after: str | None = None
        while True:
            page = await self._store.embeddings(family, group, after=after, limit=_ROWS_AT_ONCE)
            for name, tag, vector in zip(page.ids, page.tags, page.vectors, strict=True):
                if name == last:
                    continue  # a repeated insert after a lost connection can leave two rows of one id
                last = name
                rows += 1
                identity = rule.identity(name, tag)
                if identity is None:
                    left_out += 1
                else:
                    sample.add(name, identity, vector)
            after = page.after
            if after is None:
                return _Seen(rows, left_out)


@dataclass(frozen=True, slots=True)
class _Seen:
    """How many rows a walk through a group met, and how many of them have no identity."""

    rows: int
    left_out: int


def _require_pairs(seen: _Seen, sample: IdentitySample, rule: IdentityRule) -> None:
    if not seen.rows:
        message = "The group is empty: add images first, at least two of one identity and one of another."
        raise NotCalibratable(message)
    if not sample.rows:
        raise NotCalibratable(rule.advice)
    if sample.identities == 1:
        message = "All images that were compared are of one identity: add images of others."
        raise NotCalibratable(message)
    if not sample.same_pairs:
        message = (
            f"None of the {sample.identities} identities that were compared has a second image: add further images of "
            "some, or take identities from elsewhere."
        )
        raise NotCalibratable(message)


def _rates(scores: PairScores, wish: CalibrationWish) -> ErrorRates:
    return error_rates(scores.same(), scores.different(), wanted=wish.rates, default_threshold=wish.default_threshold)
