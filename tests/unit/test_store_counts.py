"""Tag counts against a plain Counter."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from app.store.counts import TagCounts
from app.store.records import TagCount


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["a", "b", "B", "中", "😀", "ｚ", ""]))), st.integers(1, 4))
def test_counts_and_pages_agree_with_a_counter(steps: list[tuple[bool, str]], limit: int) -> None:
    counts, truth = TagCounts(), Counter[str]()
    for add, tag in steps:
        if add:
            counts.add(tag)
            truth[tag] += 1
        elif truth[tag]:
            counts.remove(tag)
            truth[tag] -= 1
    truth = +truth
    walked: list[TagCount] = []
    after: str | None = None
    while True:
        page = counts.page(after=after, limit=limit)
        assert len(page.items) <= limit
        walked += page.items
        after = page.after
        if after is None:
            break
    assert walked == [TagCount(name, truth[name]) for name in sorted(truth)]
    assert (counts.tags, counts.rows) == (len(truth), truth.total())


def test_a_walk_goes_on_when_its_last_tag_has_gone() -> None:
    counts = TagCounts()
    for tag in "abc":
        counts.add(tag)
    after = counts.page(after=None, limit=1).after
    counts.remove("a")
    assert [each.name for each in counts.page(after=after, limit=5).items] == ["b", "c"]
