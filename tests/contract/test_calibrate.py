"""Calibrating a group counts what comparing each row with each other would count."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray

from app.errors import GroupNotFound, ModelMismatch, NotCalibratable
from app.services import calibrate as module
from app.services import pair_scores
from app.services.budget import MemoryBudget
from app.services.calibrate import Calibrate, CalibrationReport, CalibrationWish
from app.services.distances import measures
from app.services.identities import ByPattern, ByTag, IdentityRule
from app.services.pair_scores import PairScores
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Metric
from app.vision.calibration import calibration
from tests.made_faces import CALIBRATION, SPACE, face_group, face_record, made_spec

pytestmark = pytest.mark.asyncio(loop_scope="session")

FACE = Family.FACE
AMPLE = 1 << 20
ROWS = 90
PEOPLE = 12


def calibrating(store: GroupStore, *, memory: MemoryBudget | None = None, most_rows: int = 10_000) -> Calibrate:
    budget = memory or MemoryBudget(AMPLE)
    return Calibrate(store, {FACE: made_spec}, ThreadPoolExecutor(1), budget, most_rows=most_rows)


async def report_of(calibrate: Calibrate, group: str, rule: IdentityRule, *rates: float) -> CalibrationReport:
    return await calibrate.calibrate(FACE, group, CalibrationWish(rule, rates or (0.01,), 0.45))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def people(store: GroupStore) -> AsyncIterator[tuple[str, dict[str, NDArray[np.float32]]]]:
    """Faces of some people around places of their own, tagged and named after them, but for a few without a name."""
    random = np.random.default_rng(4)
    places = random.standard_normal((PEOPLE, 4)) / 2
    name = "calibrated"
    await store.create(FACE, name, capacity=ROWS, space=SPACE)
    faces = {}
    records = []
    for number in range(ROWS):
        who = int(random.integers(0, PEOPLE))
        at = (places[who] + 0.15 * random.standard_normal(4)).astype(np.float32)
        unknown = number % 10 == 0
        row = f"unknown{number}" if unknown else f"p{who:02d}-'{number}.jpg"
        faces[row] = at
        records.append(face_record(row, at, tag="default" if unknown else f"p{who:02d}"))
    for start in range(0, ROWS, 30):
        await asyncio.gather(*(store.add(FACE, name, record) for record in records[start : start + 30]))
    yield name, faces
    await store.remove(FACE, name)


def brute_force(faces: dict[str, NDArray[np.float32]]) -> tuple[list[float], list[float]]:
    scale = calibration(CALIBRATION)
    same: list[float] = []
    different: list[float] = []
    for one, other in combinations([name for name in faces if name.startswith("p")], 2):
        score = scale.score(float(measures(Metric.L2, faces[one], faces[other][np.newaxis])[0]))
        (same if one[:3] == other[:3] else different).append(score)
    return same, different


@pytest.mark.parametrize("rule", [ByTag(), ByPattern.of("{identity}-'*.jpg")], ids=["tag", "id"])
async def test_all_numbers_are_those_of_brute_force(
    store: GroupStore,
    people: tuple[str, dict[str, NDArray[np.float32]]],
    rule: IdentityRule,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_ROWS_AT_ONCE", 25)
    monkeypatch.setattr(pair_scores, "_ROWS", 17)
    group, faces = people
    report = await report_of(calibrating(store), group, rule, 0.1, 0.02, 0.0001)
    same, different = brute_force(faces)
    assert (report.model_id, report.count, report.left_out, report.rows) == ("faces", ROWS, 9, ROWS - 9)
    assert (report.identities, report.sampled, report.default_threshold) == (PEOPLE, False, 0.45)
    rates = report.rates
    for found, scores in ((rates.same, same), (rates.different, different)):
        assert found.pairs == len(scores)
        assert found.mean == pytest.approx(np.mean(scores), abs=1e-6)
        assert found.median == pytest.approx(np.quantile(scores, 0.5, method="inverted_cdf"), abs=1e-6)
        assert list(found.histogram) == np.histogram(scores, 40, (0, 1))[0].tolist()
    for each in rates.thresholds:
        assert each.false.matches == sum(score >= each.threshold for score in different)
        assert each.true.matches == sum(score >= each.threshold for score in same)
    for wanted in rates.wanted:
        assert wanted.found is not None
        assert sum(score >= wanted.found.threshold for score in different) <= wanted.rate * len(different)
    assert [wanted.reliable for wanted in rates.wanted] == [True, True, False]


async def test_a_large_group_is_sampled_by_whole_identities_the_same_every_time(
    store: GroupStore, people: tuple[str, dict[str, NDArray[np.float32]]]
) -> None:
    group, _ = people
    first = await report_of(calibrating(store, most_rows=40), group, ByTag())
    assert first.sampled
    assert (first.count, first.left_out) == (ROWS, 9)
    assert 20 < first.rows <= 40
    assert first == await report_of(calibrating(store, most_rows=40), group, ByTag())
    tight = await report_of(calibrating(store, memory=MemoryBudget(20 * (2 * 4 * 4 + 512))), group, ByTag())
    assert tight.sampled
    assert tight.rows <= 20


@pytest.mark.parametrize(
    ("tags", "word"),
    [
        ([], "is empty"),
        (["default", "default"], "other than `default`"),
        (["ada", "ada", "default"], "of one identity"),
        (["ada", "bob", "default"], "has a second image"),
    ],
)
async def test_a_group_that_cannot_tell_says_what_is_missing(
    store: GroupStore, group: str, tags: list[str], word: str
) -> None:
    await face_group(store, group)
    for number, tag in enumerate(tags):
        await store.add(FACE, group, face_record(f"{number}.jpg", [1, number, 0, 0], tag=tag))
    with pytest.raises(NotCalibratable, match=word):
        await report_of(calibrating(store), group, ByTag())


async def test_ids_that_match_nothing_are_told(store: GroupStore, group: str) -> None:
    await face_group(store, group, ada=[1, 0, 0, 0])
    with pytest.raises(NotCalibratable, match="matches the pattern"):
        await report_of(calibrating(store), group, ByPattern.of("{identity}/*"))


async def test_a_group_that_is_missing_or_of_another_model_is_told(store: GroupStore, group: str) -> None:
    with pytest.raises(GroupNotFound):
        await report_of(calibrating(store), group, ByTag())
    await store.create(FACE, group, capacity=5, space=EmbeddingSpace("old", 4, Metric.L2))
    with pytest.raises(ModelMismatch):
        await report_of(calibrating(store), group, ByTag())


async def test_a_caller_who_leaves_stops_the_work_and_gives_memory_and_turn_back(
    store: GroupStore, people: tuple[str, dict[str, NDArray[np.float32]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    group, _ = people
    monkeypatch.setattr(pair_scores, "_ROWS", 5)
    counted: list[int] = []

    def slow(self: PairScores, block: int) -> None:
        counted.append(block)
        time.sleep(0.2)

    memory = MemoryBudget(AMPLE)
    calibrate = calibrating(store, memory=memory)
    with monkeypatch.context() as patched:
        patched.setattr(PairScores, "count", slow)
        call = asyncio.create_task(report_of(calibrate, group, ByTag()))
        while not counted:
            await asyncio.sleep(0.01)
        assert memory.free < AMPLE
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert memory.free == AMPLE
        await asyncio.sleep(0.5)
        assert len(counted) == 1
    assert (await report_of(calibrate, group, ByTag())).rows == ROWS - 9


async def test_calibrations_take_turns(
    store: GroupStore, people: tuple[str, dict[str, NDArray[np.float32]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    group, _ = people
    at_work: list[PairScores] = []
    count = PairScores.count

    def noted(self: PairScores, block: int) -> None:
        at_work.append(self)
        count(self, block)

    monkeypatch.setattr(pair_scores, "_ROWS", 30)
    monkeypatch.setattr(PairScores, "count", noted)
    calibrate = calibrating(store)
    one, other = await asyncio.gather(*(report_of(calibrate, group, ByTag()) for _ in range(2)))
    assert one == other
    assert [scores is at_work[0] for scores in at_work] == [True] * 3 + [False] * 3
