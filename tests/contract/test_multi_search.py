"""Searching several groups as if they were one."""

from __future__ import annotations

import pytest

from app.errors import GroupNotFound, ModelMismatch
from app.services.multi_search import FaceGroupHits, MultiSearch
from app.services.rows import Terms
from app.store.groups import GroupStore
from app.store.records import EmbeddingSpace, Family, Metric
from tests.made_faces import MadeFaces, face_group, face_record, image_of, query

pytestmark = pytest.mark.asyncio(loop_scope="session")


def names(face: FaceGroupHits) -> list[tuple[str, str]]:
    return [(hit.group, hit.found.row.id) for hit in face.hits]


async def test_the_hits_of_all_groups_are_merged_by_score_and_then_cut(store: GroupStore, group: str) -> None:
    search = MultiSearch(store, MadeFaces(store))
    first = await face_group(store, f"{group}-a", near=[1, 0, 0, 0], far=[1, 0.5, 0, 0], same=[1, 0.25, 0, 0])
    second = await face_group(store, f"{group}-b", middle=[1, 0.125, 0, 0], same=[1, 0.25, 0, 0])
    third = await face_group(store, f"{group}-c", other=[0, 1, 0, 0])
    await store.add(Family.FACE, second, face_record("tagged", [1, 0.0625, 0, 0], tag="staff"))
    images = [image_of([1, 0, 0, 0], [0, 1, 0, 0]), image_of(), image_of([0, 0, 0, 5])]
    merged = [
        (first, "near"),
        (second, "tagged"),
        (second, "middle"),
        (first, "same"),
        (second, "same"),
        (first, "far"),
    ]
    for limit in (1, 3, 4, 5, 100):
        [[one, other], nobody, [stranger]] = await search.search(
            [third, second, first], query(*images), Terms(0.45, limit)
        )
        assert names(one) == merged[:limit]
        assert names(other) == [(third, "other")]
        assert nobody == []
        assert names(stranger) == []
        assert [hit.found.score for hit in one.hits] == sorted((hit.found.score for hit in one.hits), reverse=True)
    [[one, _], _, _] = await search.search([first, second], query(*images), Terms(0.45, 10, ("staff", "none")))
    assert names(one) == [(second, "tagged")]
    assert await search.search([first, second], query(image_of()), Terms(0.45, 10)) == [[]]


async def test_a_group_that_is_missing_or_of_another_model_fails_the_search(store: GroupStore, group: str) -> None:
    search = MultiSearch(store, MadeFaces(store))
    good = await face_group(store, f"{group}-a")
    await store.create(Family.FACE, f"{group}-b", capacity=5, space=EmbeddingSpace("old", 4, Metric.L2))
    with pytest.raises(GroupNotFound, match=f"{group}-x"):
        await search.search([good, f"{group}-x"], query(image_of([1, 0, 0, 0])), Terms(0.45, 10))
    with pytest.raises(ModelMismatch, match=f"{group}-b"):
        await search.search([good, f"{group}-b"], query(image_of([1, 0, 0, 0])), Terms(0.45, 10))
