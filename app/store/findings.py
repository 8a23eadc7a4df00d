"""What a look through the store found: each finding says what is wrong, and what would mend it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What can differ in a store."""

    NO_REGISTRY = "no registry"
    UNREADABLE_GROUP = "unreadable group"
    LOST_COLLECTION = "lost collection"
    ORPHAN_COLLECTION = "orphan collection"
    WRONG_FIELDS = "wrong fields"
    WRONG_SPACE = "wrong space"
    NO_INDEX = "no index"
    DUPLICATES = "duplicates"
    WRONG_COUNT = "wrong count"
    FOREIGN_TEXT = "foreign text"
    EMPTY_ID = "empty id"
    NO_BOX = "no box"
    UNREADABLE_DESC = "unreadable desc"
    LATE_END = "late end"
    OTHER_MODEL = "other model"


@dataclass(frozen=True, slots=True, eq=False)
class Remedy:
    """How one finding is mended.

    Attributes:
        would: what it would do: "would …".
        has: what it has done.
        act: does it.
    """

    would: str
    has: str
    act: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One thing that is not as it should be.

    Attributes:
        kind: what differs.
        place: the group or the collection, as an operator knows it.
        wrong: what is wrong, without a full stop.
        advice: what a person can do, where there is no remedy; a sentence.
        remedy: what a repair does, where it can do something that loses nothing more.
    """

    kind: Kind
    place: str
    wrong: str
    advice: str = ""
    remedy: Remedy | None = None

    @property
    def informs_only(self) -> bool:
        """Whether nothing is broken: it is only good to know."""
        return self.kind is Kind.OTHER_MODEL


def some_of(ids: list[str]) -> str:
    """The first few of these ids, and how many more there are."""
    shown = ", ".join(map(repr, ids[:5]))
    return shown if len(ids) <= 5 else f"{shown} and {len(ids) - 5:,} more"


def rows_in_words(number: int) -> str:
    """``1 row``, ``1,234 rows``."""
    return "1 row" if number == 1 else f"{number:,} rows"
