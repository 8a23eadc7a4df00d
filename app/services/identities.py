"""Who is on a stored image: taken from its tag, or from its id by a pattern."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Protocol

from app.errors import InvalidRequest
from app.services.rows import DEFAULT_TAG

_IDENTITY = "{identity}"
_HOLE = re.compile(r"(\{identity\}|\*)")
_MAX_STARS = 8
_MAX_BYTES = 4096  # no id is longer


class IdentityRule(Protocol):
    """Tells whose image a row is."""

    @property
    def advice(self) -> str:
        """What to do where it finds nobody."""

    def identity(self, id: str, tag: str) -> str | None:  # noqa: A002 (the API's word)
        """The identity of a row; none where the rule does not know it."""


class ByTag:
    """The tag is the identity. Rows of the default tag, which stands for a missing one, have none."""

    @property
    def advice(self) -> str:
        """What to do where no row has a tag of its own."""
        return (
            "No image of the group has a tag other than `default`: give the images of each identity a tag of their "
            "own, or take identities from the ids by a pattern."
        )

    def identity(self, _: str, tag: str) -> str | None:
        """The tag, unless it is the default one."""
        return None if tag == DEFAULT_TAG else tag


@dataclass(frozen=True, slots=True)
class ByPattern:
    """A part of the id is the identity.

    A pattern is literal text with one ``{identity}`` and some ``*``, and describes the whole id. Each of these holes
    takes as little as it can, from left to right; the last one takes what is left. An identity is never empty. Unlike
    a regular expression it is matched in a time that grows with the length of the id alone.

    Attributes:
        text: the pattern as it was written.
        start: the text before the first hole.
        holes: each hole, and the text that follows it.
    """

    text: str
    start: str
    holes: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, text: str) -> ByPattern:
        """Reads a pattern.

        Raises:
            InvalidRequest: it is too long, has not exactly one ``{identity}``, or too many holes or two side by side.
        """
        if len(text.encode()) > _MAX_BYTES:
            message = f"pattern is longer than {_MAX_BYTES} bytes in UTF-8, and no id is: shorten it."
            raise InvalidRequest(message)
        start, *parts = _HOLE.split(text)
        holes = tuple(zip(parts[::2], parts[1::2], strict=True))
        if sum(hole == _IDENTITY for hole, _ in holes) != 1:
            message = f"pattern must have `{_IDENTITY}` exactly once, for example `{_IDENTITY}-*`."
            raise InvalidRequest(message)
        if len(holes) > _MAX_STARS + 1:
            message = f"pattern has {len(holes) - 1} `*`: at most {_MAX_STARS} are allowed."
            raise InvalidRequest(message)
        if not all(literal for _, literal in holes[:-1]):
            message = f"pattern has two of `{_IDENTITY}` and `*` side by side: put what stands between them in the ids."
            raise InvalidRequest(message)
        return cls(text, start, holes)

    @property
    def advice(self) -> str:
        """What to do where no id matches."""
        return f"No id of the group matches the pattern {self.text!r}: write one that describes whole ids."

    def identity(self, id: str, _: str) -> str | None:  # noqa: A002
        """The part of the id that stands at ``{identity}``; none where the id does not match."""
        if not id.startswith(self.start):
            return None
        found = None
        position = len(self.start)
        for number, (hole, literal) in enumerate(self.holes, 1):
            least = position + (hole == _IDENTITY)
            if number < len(self.holes):
                end = id.find(literal, least)
            else:
                end = len(id) - len(literal) if id.endswith(literal) else -1
            if end < least:
                return None
            if hole == _IDENTITY:
                found = id[position:end]
            position = end + len(literal)
        return found
