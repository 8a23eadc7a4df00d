"""Each engine gets its own profile."""

import pytest

from app.store.profile import profile_for
from app.store.records import Metric


@pytest.mark.parametrize(
    ("version", "index", "partitions"),
    [
        (None, "FLAT", None),
        ("v2.3.5-lite", "HNSW", None),
        ("2.5.9", "HNSW", None),
        ("v2.6.0", "HNSW", 16),
        ("3.0", "HNSW", 16),
        ("dev", "HNSW", None),
    ],
)
def test_the_version_decides(version: str | None, index: str, partitions: int | None) -> None:
    profile = profile_for(version)
    assert profile.index_type == index
    assert profile.partitions(300_000) == partitions


def test_large_groups_get_more_partitions() -> None:
    assert profile_for("v2.6.4").partitions(5_000_000) == 64


def test_the_search_width_covers_the_limit() -> None:
    params = profile_for("v2.6.4").search_params(Metric.L2, limit=10_000, bound=0.5)
    assert params == {"metric_type": "L2", "params": {"ef": 10_000}}


def test_the_radius_lies_just_beyond_the_bound() -> None:
    lite = profile_for(None)
    l2 = lite.search_params(Metric.L2, limit=5, bound=0.5)["params"]
    cosine = lite.search_params(Metric.COSINE, limit=5, bound=0.5)["params"]
    assert isinstance(l2, dict)
    assert isinstance(cosine, dict)
    assert 0.25 < l2["radius"] < 0.2501
    assert 0.4999 < cosine["radius"] < 0.5
    assert lite.search_params(Metric.COSINE, limit=5, bound=-1.0)["params"] == {}
    assert lite.search_params(Metric.L2, limit=5, bound=float("inf"))["params"] == {}
