"""Faces that nobody knows get one entry each, however often and however many at once they come."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from app.errors import GroupNotFound
from app.services.cluster import Cluster
from app.services.face_search import FaceHits
from app.services.multi_search import FaceGroupHits, MultiSearch
from app.services.rows import Terms
from app.store.groups import GroupStore
from app.store.records import Family, TagCount
from tests.made_faces import BOX, MadeFaces, face_group, face_record, image_of, query

pytestmark = pytest.mark.asyncio(loop_scope="session")

TERMS = Terms(0.45, 10)
ADA, ADA_AGAIN, BOB, CAROL = [1, 0, 0, 0], [1, 0.125, 0, 0], [0, 1, 0, 0], [0, 0, 2, 0]


def ids(face: FaceHits) -> list[str]:
    return [hit.row.id for hit in face.hits]


def places(face: FaceGroupHits) -> list[tuple[str, str]]:
    return [(hit.group, hit.found.row.id) for hit in face.hits]


async def count(store: GroupStore, group: str) -> int:
    return (await store.info(Family.FACE, group)).count


async def test_the_known_are_found_and_the_new_are_stored_and_found_from_then_on(store: GroupStore, group: str) -> None:
    cluster = Cluster(store, MadeFaces(store))
    await face_group(store, group, ada=ADA)
    [[ada, bob], [], [carol]] = await cluster.search(
        group, query(image_of(ADA_AGAIN, BOB), "[]", image_of(CAROL)), TERMS
    )
    assert ids(ada) == ["ada"]
    for face in (bob, carol):
        [hit] = face.hits
        assert (hit.score, hit.row.tag, hit.row.desc, hit.row.bounding_box) == (1.0, "default", "{}", BOX)
        assert len(hit.row.id) >= 22
        assert await store.row(Family.FACE, group, hit.row.id) == hit.row
    assert await count(store, group) == 3
    assert (await store.tags(Family.FACE, group, after=None, limit=9)).items == [TagCount("default", 3)]
    [[ada_later, bob_later, carol_later]] = await cluster.search(group, query(image_of(ADA, BOB, CAROL)), TERMS)
    assert [ids(face) for face in (ada_later, bob_later, carol_later)] == [ids(ada), ids(bob), ids(carol)]
    assert await count(store, group) == 3
    with pytest.raises(GroupNotFound):
        await cluster.search(f"{group}-x", query(image_of(ADA)), TERMS)


async def test_one_new_person_twice_in_a_request_is_stored_once_and_the_second_finds_the_first(
    store: GroupStore, group: str
) -> None:
    cluster = Cluster(store, MadeFaces(store))
    await face_group(store, group)
    [[first, bob, second], [third]] = await cluster.search(
        group, query(image_of(ADA, BOB, ADA_AGAIN), image_of(ADA)), TERMS
    )
    assert first.hits[0].score == 1.0
    assert ids(second) == ids(third) == ids(first) != ids(bob)
    assert 0.45 <= second.hits[0].score < 1.0
    [[again]] = await cluster.search(group, query(image_of(ADA_AGAIN)), TERMS)
    assert again.hits[0].score == pytest.approx(second.hits[0].score, abs=1e-5)
    assert await count(store, group) == 2


async def test_a_face_between_two_others_finds_the_stored_one_and_the_new_one_best_first(
    store: GroupStore, group: str
) -> None:
    cluster = Cluster(store, MadeFaces(store))
    await face_group(store, group, old=[1, 0, 0, 0])
    [[new, between]] = await cluster.search(group, query(image_of([1, 0.75, 0, 0], [1, 0.5, 0, 0])), TERMS)
    assert ids(between) == [*ids(new), "old"]
    [[_, one]] = await cluster.search(group, query(image_of([1, 0.75, 0, 0], [1, 0.5, 0, 0])), Terms(0.45, 1))
    assert ids(one) == ids(new)


@pytest.mark.parametrize("number", [2, 8])
async def test_one_new_person_in_many_requests_at_once_is_stored_once(
    store: GroupStore, group: str, number: int
) -> None:
    cluster = Cluster(store, MadeFaces(store))
    await face_group(store, group)
    answers = await asyncio.gather(
        *(cluster.search(group, query(image_of(ADA, BOB), image_of(ADA_AGAIN)), TERMS) for _ in range(number))
    )
    assert await count(store, group) == 2
    assert {tuple(ids(face)) for [[ada, _], [again]] in answers for face in (ada, again)} == {
        tuple(ids(answers[0][0][0]))
    }
    firsts = [ada.hits[0].score == 1.0 for [[ada, _], _] in answers]
    assert any(firsts)


async def test_tags_limit_what_is_found_but_not_who_is_new(store: GroupStore, group: str) -> None:
    cluster = Cluster(store, MadeFaces(store))
    await face_group(store, group)
    await store.add(Family.FACE, group, face_record("ada", ADA, tag="staff"))
    for _ in range(2):
        [[ada, bob]] = await cluster.search(group, query(image_of(ADA_AGAIN, BOB)), Terms(0.45, 10, ("guests",)))
        assert ids(ada) == []
        assert await count(store, group) == 2
    [[ada, bob]] = await cluster.search(group, query(image_of(ADA, BOB)), Terms(0.45, 10, ("staff", "default")))
    assert ids(ada) == ["ada"]
    assert len(ids(bob)) == 1


async def test_a_group_takes_those_whom_none_of_the_searched_groups_knows(store: GroupStore, group: str) -> None:
    search = MultiSearch(store, MadeFaces(store))
    first = await face_group(store, f"{group}-a", ada=ADA)
    second = await face_group(store, f"{group}-b")
    rest = await face_group(store, f"{group}-c", bob=BOB)
    image = image_of(ADA_AGAIN, BOB, CAROL, CAROL)
    answers = await asyncio.gather(
        *(search.search([first, second], query(image), TERMS, cluster_group=rest) for _ in range(4))
    )
    for [[ada, bob, carol, again]] in answers:
        assert places(ada) == [(first, "ada")]
        assert places(bob) == [(rest, "bob")]
        assert [place for place, _ in places(carol)] == [rest]
        assert places(again) == places(carol) == places(answers[0][0][2])
    assert [await count(store, each) for each in (first, second, rest)] == [1, 0, 2]
    [[ada]] = await search.search(
        [first, second], query(image_of(ADA)), Terms(0.45, 10, ("guests",)), cluster_group=rest
    )
    assert places(ada) == []
    assert await count(store, rest) == 2
    with pytest.raises(GroupNotFound):
        await search.search([first], query(image_of([0, 0, 0, 7])), TERMS, cluster_group=f"{group}-x")


async def test_what_is_added_after_a_search_is_added_whole_or_not_at_all(store: GroupStore, group: str) -> None:
    await face_group(store, group, ada=ADA)
    records = [face_record("bob", BOB), face_record("zero", [0, 0, 0, 0])]
    with pytest.raises(ValueError, match="embedding"):
        await store.search_then_add(
            Family.FACE, group, np.array([BOB], np.float32), lambda _: records, limit=1, bound=0.5
        )
    assert await count(store, group) == 1
    assert (await store.rows(Family.FACE, group, tag=None, after=None, limit=9)).items[0].id == "ada"
