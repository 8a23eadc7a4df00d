"""What an answer of the service must say, given what its caller knows: each check returns what is wrong, or nothing."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

_ROUNDED = 1e-6  # scores have six decimals
_NEWCOMER = 0.01  # a face just stored is answered with score 1, and found later with that of equal embeddings
_SAME_PHOTO = 0.95


def of_hits(hits: Sequence[Mapping[str, Any]], *, threshold: float, limit: int) -> str:
    """Hits of one query: best first, over the threshold, no more than asked for, no id twice."""
    scores = [hit["score"] for hit in hits]
    if len(hits) > limit:
        return "more hits than the limit"
    if scores != sorted(scores, reverse=True):
        return "hits are not sorted by score"
    if any(not threshold - _ROUNDED <= score <= 1 for score in scores):
        return "a score is under the threshold or over 1"
    if len({hit["id"] for hit in hits}) < len(hits):
        return "an id is among the hits twice"
    return ""


def of_own_hits(hits: Sequence[Mapping[str, Any]], wanted: str | None, own: Collection[str]) -> str:
    """Hits inside the caller's own tag: nothing but its rows, and the row of that photo where it has one."""
    if any(hit["id"] not in own for hit in hits):
        return "a search found a row that was deleted, or is not of that tag"
    if wanted is not None and not any(hit["id"] == wanted and hit["score"] >= _SAME_PHOTO for hit in hits):
        return "a search did not find the photo that had been added"
    return ""


def of_open_hits(hits: Sequence[Mapping[str, Any]], wanted: str | None, limit: int) -> str:
    """Hits of a search in the whole group, where others have rows of the same photo."""
    if wanted is not None and len(hits) < limit and all(hit["id"] != wanted for hit in hits):
        return "a search did not find the photo that had been added"
    return ""


def of_listing(listed: Sequence[str], own: Collection[str]) -> str:
    """A whole walk through the rows of the caller's own tag."""
    if len(set(listed)) < len(listed):
        return "a listing names an id twice"
    if set(listed) - set(own):
        return "a listing names an id that was deleted, or is not of that tag"
    if set(own) - set(listed):
        return "a listing lacks an id that was added"
    return ""


def of_row(row: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    """One row: as it was last written."""
    return "" if {name: row[name] for name in wanted} == wanted else "a row is not as it was last written"


def of_tags(counts: Mapping[str, int], tag: str, own: int) -> str:
    """A whole walk through the tags: the caller's own has as many rows as it has added and not deleted."""
    return "" if counts.get(tag, 0) == own else "a tag's count is not the number of its rows"


def of_cluster(before: Sequence[float], now: Sequence[float]) -> str:
    """The best score of each face of a photo, when it was clustered before (or nothing) and now.

    Each face has a hit, its own row where nobody else's; and nothing is deleted there, so that it only gets better.
    """
    if before and len(now) != len(before):
        return "another number of faces in the same photo"
    if any(score < least - _NEWCOMER for least, score in zip(before, now, strict=False)):
        return "a face that was clustered before is found less well"
    return ""
