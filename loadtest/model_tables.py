"""What was measured of the models, and the tables that tell it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from app.catalogue.roles import Role
from loadtest.model_sessions import Change, Speed

FACE_SEARCH: Final = {"face_detector 480x640": 1, "face_detector 192x192": 1, "face_embedder": 1}
"""What the search of a photo of one upright face asks of the models; adding it asks for its quality, too."""


@dataclass(slots=True)
class Measured:
    """One model, computed in one way.

    Attributes:
        model: its role.
        way: the name of the way.
        opening: seconds that opening a session took.
        nodes: of its graph, by where they are computed.
        first: milliseconds of the first call of a shape and batch.
        changes: of the shape from one batch to another and back, by the names of the two.
        speeds: of a shape and batch, by the number of sessions at once.
        memory: MiB of the GPU that were in use more than before, by the number of sessions.
        moved: what moved against the same machine's cores.
        failure: why it could not be measured.
    """

    model: str
    way: str
    opening: float = 0.0
    nodes: dict[str, int] = field(default_factory=dict)
    first: dict[str, float] = field(default_factory=dict)
    changes: dict[str, Change] = field(default_factory=dict)
    speeds: dict[str, dict[int, Speed]] = field(default_factory=dict)
    memory: dict[int, float] = field(default_factory=dict)
    moved: dict[str, float] = field(default_factory=dict)
    failure: str = ""


def images_a_second(rates: Mapping[str, float], asked: Mapping[str, int]) -> float:
    """Images a second where one model runs after the other, each as fast as it did alone.

    Args:
        rates: items a second, by model.
        asked: items of an image, by model.
    """
    return 1 / sum(count / rates[name] for name, count in asked.items())


def tables(found: Sequence[Measured]) -> Iterator[str]:
    """The lines of Markdown tables."""
    first = [one for one in found if one.way == found[0].way]
    counts = sorted({count for one in first for speeds in one.speeds.values() for count in speeds})
    yield from ("", f"## {found[0].way}, sessions at once", "")
    heads = [f"{count}: ms | {count}: items/s" for count in counts]
    yield f"| model | input | batch | first call, ms | {' | '.join(heads)} |"
    yield "| --- " * (4 + 2 * len(counts)) + "|"
    for one in first:
        for name, speeds in one.speeds.items():
            cells = [_cells(speeds.get(count)) for count in counts]
            yield f"| {one.model} | {name.replace(' ', ' | ')} | {one.first[name]:,.0f} | {' | '.join(cells)} |"
    best = _best(first)
    if best.keys() >= FACE_SEARCH.keys():
        rate = images_a_second(best, FACE_SEARCH)
        part = " (of what was measured; some was not)" if any(one.failure for one in first) else ""
        yield f"\nA search of a photo of one face, its models one after the other: {rate:,.0f} images/s{part}"
    yield from ("", "## A change of shape, both seen before, one session", "")
    yield "| model | way | alternating | after a change, ms | the same again, ms |"
    yield "| --- " * 5 + "|"
    for one in found:
        for names, change in one.changes.items():
            yield f"| {one.model} | {one.way} | {names} | {change.changed:.2f} | {change.repeated:.2f} |"
    ways = list(dict.fromkeys(one.way for one in found))
    yield from ("", "## Ways of computing, one session", "", f"| model | input | batch | {_twice(ways)} |")
    yield "| --- " * (3 + 2 * len(ways)) + "|"
    by_way = {(one.model, one.way): one for one in found}
    for one in first:
        for name in one.speeds:
            others = [by_way.get((one.model, way)) for way in ways]
            cells = [_cells(other.speeds.get(name, {}).get(1) if other else None) for other in others]
            yield f"| {one.model} | {name.replace(' ', ' | ')} | {' | '.join(cells)} |"
    yield from ("", "## Opening, first calls, memory, places, differences from this machine's cores", "")
    for one in found:
        yield f"- {one.model}, {one.way}: {one.failure}" if one.failure else f"- {one.model}, {one.way}"
        yield f"  opened in {one.opening:.2f} s, first calls of all shapes {sum(one.first.values()) / 1000:.2f} s"
        yield f"  nodes {one.nodes}; MiB of the GPU by sessions {one.memory or 'not read'}"
        yield f"  {', '.join(f'{what} {value:.6g}' for what, value in one.moved.items()) or 'nothing compared'}"


def _best(found: Sequence[Measured]) -> dict[str, float]:
    """The most items a second, by model, and for the detector by input."""
    best: dict[str, float] = {}
    for one in found:
        for name, speeds in one.speeds.items():
            key = f"{one.model} {name.partition(' ')[0]}" if one.model == Role.FACE_DETECTOR else one.model
            best[key] = max([best.get(key, 0.0), *(each.items for each in speeds.values())])
    return best


def _cells(seen: Speed | None) -> str:
    return f"{seen.milliseconds:.2f} | {seen.items:,.0f}" if seen else "– | –"


def _twice(ways: Sequence[str]) -> str:
    return " | ".join(f"{way}: ms | {way}: items/s" for way in ways)
