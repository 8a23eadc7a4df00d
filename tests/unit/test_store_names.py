"""Collection names are legal, tell groups apart and are never used twice."""

import re
import time
from itertools import product

import pytest

from app.store.names import age_of_scratch, fresh_collection_name, holds_rows, registry_name, scratch_name
from app.store.records import Family


def test_names_of_different_groups_never_meet() -> None:
    groups = ["".join(letters) for letters in product("ad_-", repeat=4)]
    stems = {fresh_collection_name("p", family, group).rpartition("_g")[0] for family in Family for group in groups}
    assert len(stems) == 2 * len(groups)


def test_a_name_is_legal_and_fresh_each_time() -> None:
    first, second = (fresh_collection_name("likeness", Family.FACE, "a-b_" + "c" * 28) for _ in range(2))
    assert first != second
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,254}", first)


def test_the_registry_and_the_collections_of_other_prefixes_hold_no_rows_of_ours() -> None:
    assert holds_rows("likeness", fresh_collection_name("likeness", Family.IMAGE, "abc"))
    assert not holds_rows("likeness", registry_name("likeness"))
    assert not holds_rows("likeness", fresh_collection_name("likeness2", Family.IMAGE, "abc"))


def test_a_collection_that_only_begins_alike_is_none_of_ours() -> None:
    for name in ("likeness_face_album", "likeness_face_album_g12", "likeness_face__g0123456789x", "likeness_image_"):
        assert not holds_rows("likeness", name)


def test_a_scratch_collection_is_no_groups_and_tells_its_age() -> None:
    name = scratch_name("likeness")
    assert re.fullmatch(r"[a-z][a-z0-9_]{0,254}", name)
    assert not holds_rows("likeness", name)
    age = age_of_scratch("likeness", name)
    assert age is not None
    assert 0 <= age < 60
    assert age_of_scratch("likeness", "likeness_scratch_1_0123456789") == pytest.approx(time.time(), abs=60)


def test_no_collection_of_a_group_or_of_another_prefix_is_taken_for_scratch() -> None:
    assert age_of_scratch("likeness", scratch_name("other")) is None
    assert age_of_scratch("likeness", registry_name("likeness_scratch")) is None
    assert age_of_scratch("likeness", registry_name("likeness")) is None
    for family in Family:
        assert age_of_scratch("likeness", fresh_collection_name("likeness", family, "scratch")) is None
        assert age_of_scratch("likeness", fresh_collection_name("likeness_scratch", family, "abc")) is None
