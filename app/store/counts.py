"""How many rows of a group bear each tag: exact, in memory, sorted by tag."""

from __future__ import annotations

from bisect import bisect_right, insort

from app.store.records import Page, TagCount


class TagCounts:
    """Counts per tag, built by one scan of a group and then kept by what writes change."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._names: list[str] = []
        self._rows = 0

    @property
    def rows(self) -> int:
        """Number of rows."""
        return self._rows

    @property
    def tags(self) -> int:
        """Number of distinct tags."""
        return len(self._names)

    def add(self, tag: str) -> None:
        """A row with this tag came."""
        if tag not in self._counts:
            self._counts[tag] = 0
            insort(self._names, tag)
        self._counts[tag] += 1
        self._rows += 1

    def remove(self, tag: str) -> None:
        """A row with this tag went; a tag without rows is forgotten."""
        self._counts[tag] -= 1
        self._rows -= 1
        if not self._counts[tag]:
            del self._counts[tag]
            del self._names[bisect_right(self._names, tag) - 1]

    def page(self, *, after: str | None, limit: int) -> Page[TagCount]:
        """The next ``limit`` tags after ``after``, by name."""
        start = bisect_right(self._names, after) if after is not None else 0
        names = self._names[start : start + limit]
        more = start + limit < len(self._names)
        return Page([TagCount(name, self._counts[name]) for name in names], names[-1] if more else None)
