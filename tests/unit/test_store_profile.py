"""Each engine gets its own profile."""

import pytest

from app.store.profile import profile_for
from app.store.records import Metric


@pytest.mark.parametrize(
    ("version", "index", "tried"),
    [
        (None, "FLAT", False),
        ("v2.3.5-lite", "HNSW", False),
        ("2.5.9", "HNSW", False),
        ("v2.6.0", "HNSW", True),
        ("3.0", "HNSW", True),
        ("dev", "HNSW", False),
    ],
)
def test_the_version_decides(version: str | None, index: str, *, tried: bool) -> None:
    profile = profile_for(version)
    assert profile.index.kind == index
    assert (profile.unpartitioned is None) is tried
    if version is not None and not tried:
        assert profile.unpartitioned == f"Milvus {version} is not known to be 2.6 or newer."


def test_large_groups_get_more_partitions() -> None:
    assert profile_for("v2.6.4").partitions(5_000_000) == 64


def test_the_search_width_covers_the_limit() -> None:
    params = profile_for("v2.6.4").search_params(Metric.L2, limit=10_000, bound=0.5, capacity=1)
    assert params == {"metric_type": "L2", "params": {"ef": 10_000}}


@pytest.mark.parametrize(("capacity", "width"), [(1, 256), (100_000, 256), (100_001, 512), (10**12, 512)])
def test_large_groups_are_searched_more_widely(capacity: int, width: int) -> None:
    params = profile_for("v2.6.4").search_params(Metric.L2, limit=10, bound=0.5, capacity=capacity)
    assert params["params"] == {"ef": width}
    assert profile_for(None).search_params(Metric.L2, limit=10, bound=1e9, capacity=capacity)["params"] == {}


def test_the_radius_lies_just_beyond_the_bound() -> None:
    lite = profile_for(None)
    l2 = lite.search_params(Metric.L2, limit=5, bound=0.5, capacity=1)["params"]
    cosine = lite.search_params(Metric.COSINE, limit=5, bound=0.5, capacity=1)["params"]
    assert isinstance(l2, dict)
    assert isinstance(cosine, dict)
    assert 0.25 < l2["radius"] < 0.2501
    assert 0.4999 < cosine["radius"] < 0.5
    assert lite.search_params(Metric.COSINE, limit=5, bound=-1.0, capacity=1)["params"] == {}
    assert lite.search_params(Metric.L2, limit=5, bound=float("inf"), capacity=1)["params"] == {}
