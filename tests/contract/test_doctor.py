"""The doctor finds each thing that can differ in a store, changes nothing unless told, and mends it."""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from app.errors import BackendUnavailable
from app.store.doctor import Doctor
from app.store.engine import Engine
from app.store.findings import Finding, Kind
from app.store.groups import GroupStore
from app.store.names import fresh_collection_name, registry_name
from app.store.records import BoundingBox, EmbeddingSpace, Family, GroupInfo, Metric, Record, Row
from app.store.registry import Registration, Registry
from app.store.rows import create_collection
from tests.rows import record

OpenStore = Callable[..., GroupStore]

pytestmark = pytest.mark.asyncio(loop_scope="session")

SPACE = EmbeddingSpace("m", 4, Metric.L2)
BOX = BoundingBox(((1, 2), (3, 2), (3, 4), (1, 4)), 0.5)
NASTY = ["it's", 'a "b"', "line\nline", "back\\slash", "日本"]


@dataclasses.dataclass
class Patient:
    """A store of this file's own, sound between scenarios, and the ways to damage it."""

    engine: Engine
    store: GroupStore
    prefix: str

    @property
    def registry(self) -> Registry:
        return Registry(self.engine, registry_name(self.prefix))

    async def registration(self, name: str) -> Registration:
        return next(each for each in await self.registry.read() if each.name == name)

    async def make(self, family: Family, name: str, *records: Record) -> str:
        """Makes a group and tells its collection."""
        await self.store.create(family, name, capacity=10, space=SPACE)
        for each in records:
            await self.store.add(family, name, each)
        return (await self.registration(name)).collection

    async def listed(self, family: Family, name: str) -> list[Row]:
        return list((await self.store.rows(family, name, tag=None, after=None, limit=100)).items)

    async def findings(self, *, repair: bool = False, **served: EmbeddingSpace) -> list[Finding]:
        doctor = Doctor(self.engine, self.prefix, {Family(family): space for family, space in served.items()})
        found = []
        async for finding in doctor.findings():
            found.append(finding)
            if repair and finding.remedy is not None:
                await finding.remedy.act()
        return found

    async def kinds(self, *, repair: bool = False) -> list[tuple[Kind, str]]:
        return [(each.kind, each.place) for each in await self.findings(repair=repair)]

    async def content(self) -> list[Any]:
        """All that the engine has under the prefix."""
        names = sorted(each for each in await self.engine.collections() if each.startswith(f"{self.prefix}_"))
        return [(each, await self.engine.count(each, ""), await self.engine.shape(each)) for each in names]

    async def mended(self, *expected: tuple[Kind, str]) -> None:
        """Exactly this is found, looking changes nothing, and after a repair nothing is found."""
        before = await self.content()
        assert await self.kinds() == list(expected)
        assert await self.content() == before
        assert await self.kinds(repair=True) == list(expected)
        assert await self.kinds() == []
        self.store.forget()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def patient(uri: str, open_store: OpenStore) -> AsyncIterator[Patient]:
    # One for the whole file: each collection takes seconds on a server.
    prefix = f"t{secrets.token_hex(4)}"
    engine = await Engine.connect(uri=uri, token="", database="", timeout_s=30)
    async with open_store(prefix=prefix) as store:
        patient = Patient(engine, store, prefix)
        assert await patient.findings(repair=True) == []
        assert await patient.content() == [], "an engine without a store is left so"
        await patient.make(Family.IMAGE, "images", *(record(name, tag=name) for name in NASTY))
        face = Record(Row("f", "t", "[1,2]", BOX), np.ones(4, np.float32))
        await patient.make(Family.FACE, "faces", face)
        yield patient
    await engine.close()


def raw(id: str, *, tag: str = "t", desc: str = "{", box: str | None = None, at: float = 1.0) -> dict[str, object]:
    """A row as another program might write it."""
    row: dict[str, object] = {"id": id, "tag": tag, "desc": desc, "embedding": np.array([at, 1, 0, 0], np.float32)}
    return row if box is None else row | {"bounding_box": box}


async def test_a_sound_store_is_told_so_and_not_changed(patient: Patient) -> None:
    before = await patient.content()
    assert await patient.findings(repair=True, image=SPACE, face=SPACE) == []
    assert await patient.content() == before
    assert sorted(row.id for row in await patient.listed(Family.IMAGE, "images")) == sorted(NASTY)


async def test_a_group_whose_collection_is_lost_leaves_the_registry_only_in_a_repair(patient: Patient) -> None:
    await patient.engine.drop(await patient.make(Family.IMAGE, "lost", record("a")))
    [finding] = await patient.findings()
    assert "its rows are lost" in finding.wrong
    await patient.mended((Kind.LOST_COLLECTION, "image/lost"))
    assert "lost" not in [each.name for each in await patient.registry.read()]


async def test_a_collection_without_a_group_is_dropped_only_in_a_repair(patient: Patient) -> None:
    orphan = fresh_collection_name(patient.prefix, Family.FACE, "orphan")
    registration = Registration.now(Family.FACE, "orphan", capacity=1, space=SPACE, collection=orphan)
    await create_collection(patient.engine, registration)
    [finding] = await patient.findings()
    assert finding.remedy is not None
    # It became a group between the look and the repair.
    await patient.registry.write(registration)
    await finding.remedy.act()
    assert await patient.engine.has(orphan)
    await patient.registry.erase(registration)
    await patient.mended((Kind.ORPHAN_COLLECTION, orphan))
    assert not await patient.engine.has(orphan)


async def test_a_registry_row_that_cannot_be_read_makes_no_collection_an_orphan(patient: Patient) -> None:
    registration = await patient.registration("images")
    names = ["key", "family", "name", "model_id", "metric", "collection", "created", "capacity", "dimension"]
    names += ["schema_version", "embedding"]
    [row] = await patient.engine.query(registry_name(patient.prefix), 'key == "image/images"', names, limit=9)
    await patient.engine.upsert(registry_name(patient.prefix), {**row, "metric": "of-tomorrow"})
    assert await patient.kinds(repair=True) == [(Kind.UNREADABLE_GROUP, "image/images")]
    await patient.registry.write(registration)
    assert await patient.findings() == []
    assert len(await patient.listed(Family.IMAGE, "images")) == len(NASTY)


async def test_a_registry_that_says_another_space_than_the_collection_is_corrected(patient: Patient) -> None:
    registration = await patient.registration("images")
    wrong = EmbeddingSpace("m", 8, Metric.COSINE)
    await patient.registry.write(dataclasses.replace(registration, space=wrong))
    await patient.mended((Kind.WRONG_SPACE, "image/images"))
    assert await patient.registration("images") == registration


async def test_a_collection_with_other_fields_is_made_anew_only_where_it_is_empty(patient: Patient) -> None:
    collection = await patient.make(Family.FACE, "odd")
    await patient.engine.drop(collection)
    await patient.engine.create(collection, texts={"id": 64, "tag": 64}, dimension=4, metric=Metric.L2)
    await patient.engine.insert(collection, [{"id": "a", "tag": "t", "embedding": [1.0, 0, 0, 0]}])
    assert await patient.kinds(repair=True) == [(Kind.WRONG_FIELDS, "face/odd")]
    assert await patient.engine.count(collection, "") == 1
    await patient.engine.delete(collection, "id", ["a"])
    await patient.mended((Kind.WRONG_FIELDS, "face/odd"))
    await patient.store.add(Family.FACE, "odd", Record(Row("f", "t", "1", BOX), np.ones(4, np.float32)))
    await patient.store.remove(Family.FACE, "odd")


async def test_of_rows_stored_twice_the_listed_one_stays(patient: Patient) -> None:
    names = [f"{number:02d}" for number in range(40)]
    collection = (await patient.registration("images")).collection
    await patient.engine.insert(collection, [raw(name) for name in names])
    await patient.engine.insert(collection, [raw(name, tag="again", at=9.0) for name in ("00", "17", "39")])
    await patient.engine.insert(collection, [raw("17", tag="thrice", at=8.0)])
    listed = await patient.listed(Family.IMAGE, "images")
    [finding] = await patient.findings()
    assert "'00', '17', '39' stored more than once: 49 rows of 45 ids" in finding.wrong
    await patient.mended((Kind.DUPLICATES, "image/images"))
    assert await patient.engine.count(collection, "") == 45
    assert await patient.listed(Family.IMAGE, "images") == listed
    (hits,) = await patient.store.search(Family.IMAGE, "images", np.ones((1, 4), np.float32), limit=99, bound=99.0)
    assert sorted(hit.row.id for hit in hits) == sorted(row.id for row in listed)
    assert {hit.row.id: hit.row.tag for hit in hits} == {row.id: row.tag for row in listed}
    await patient.store.delete(Family.IMAGE, "images", names)


async def test_rows_that_no_listing_can_show_are_mended_or_deleted(patient: Patient) -> None:
    good = '{"pts":[[1,2],[3,2],[3,4],[1,4]],"score":null}'
    three, nan = good.replace("[1,2],", ""), good.replace("null", "NaN")
    collection = (await patient.registration("faces")).collection
    boxes = {"none": "", "no-json": "{", "three": three, "nan": nan}
    await patient.engine.insert(collection, [raw(name, box=box) for name, box in boxes.items()])
    await patient.engine.insert(collection, [raw("broken", desc='{"a":', box=good), raw("", box=good)])
    await patient.mended(
        (Kind.EMPTY_ID, "face/faces"), (Kind.NO_BOX, "face/faces"), (Kind.UNREADABLE_DESC, "face/faces")
    )
    listed = await patient.listed(Family.FACE, "faces")
    assert [(row.id, row.desc) for row in listed] == [("broken", "{}"), ("f", "[1,2]")]
    assert await patient.store.info(Family.FACE, "faces") == GroupInfo(10, tags=1, count=2)
    (hits,) = await patient.store.search(Family.FACE, "faces", np.ones((1, 4), np.float32), limit=9, bound=9.0)
    assert sorted(hit.row.id for hit in hits) == ["broken", "f"]


async def test_texts_of_another_program_are_told_and_left_alone(patient: Patient) -> None:
    collection = await patient.make(Family.IMAGE, "foreign", record("fine"))
    await patient.engine.insert(collection, [raw("it's"), raw("tagged", tag="it's"), raw("z\nz")])
    assert await patient.kinds(repair=True) == [(Kind.FOREIGN_TEXT, "image/foreign")]
    assert await patient.engine.count(collection, "") == 4
    await patient.store.remove(Family.IMAGE, "foreign")


async def test_groups_of_another_model_are_only_told(patient: Patient) -> None:
    before = await patient.content()
    [finding] = await patient.findings(repair=True, image=EmbeddingSpace("m2", 4, Metric.L2))
    assert (finding.kind, finding.place, finding.informs_only) == (Kind.OTHER_MODEL, "image/images", True)
    assert "of the model m, and m2 is served" in finding.wrong
    assert await patient.content() == before


async def test_collections_of_groups_are_never_dropped_where_the_registry_is_missing(
    patient: Patient, open_store: OpenStore
) -> None:
    # The last scenario of the file: nothing brings the registry back.
    collection = (await patient.registration("images")).collection
    await patient.engine.drop(registry_name(patient.prefix))
    assert await patient.kinds(repair=True) == [(Kind.NO_REGISTRY, registry_name(patient.prefix))]
    async with open_store(prefix=patient.prefix, embedded=True) as store:
        for _ in range(2):
            with pytest.raises(BackendUnavailable, match="registry of groups is missing"):
                await store.names(Family.IMAGE)
    assert await patient.engine.count(collection, "") == len(NASTY)
