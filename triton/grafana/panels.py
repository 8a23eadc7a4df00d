"""What a dashboard is made of, and the forms of PromQL that come again and again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

RATE = "[$__rate_interval]"


@dataclass(frozen=True, slots=True)
class Panel:
    """One graph.

    Attributes:
        title: what it shows.
        unit: Grafana's name of the unit.
        doc: what it tells, and when to worry.
        queries: PromQL by legend.
        stacked: whether the lines lie on top of each other.
    """

    title: str
    unit: str
    doc: str
    queries: Mapping[str, str]
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Some graphs under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """One page."""

    uid: str
    title: str
    doc: str
    rows: tuple[Row, ...]


def rate(series: str, *by: str, where: str = "") -> str:
    """How much a counter grows per second."""
    chosen = f"{{{where}}}" if where else ""
    inner = f"rate({series}{chosen}{RATE})"
    return f"sum by ({', '.join(by)}) ({inner})" if by else f"sum({inner})"


def quantile(share: float, histogram: str, *by: str, where: str = "") -> str:
    """The value under which that share of all lies, as far as the buckets tell."""
    return f"histogram_quantile({share}, {rate(f'{histogram}_bucket', 'le', *by, where=where)})"


def mean(histogram: str, *by: str) -> str:
    """The mean of what was observed."""
    return f"{rate(f'{histogram}_sum', *by)} / {rate(f'{histogram}_count', *by)}"
