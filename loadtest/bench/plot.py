"""Draws throughput beside the limit, by the number of clients, as an SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from loadtest.bench.measurements import Measurement, Record, median, ratios

_WIDTH, _HEIGHT = 900, 380
_TOP, _BOTTOM = 84, 300
_PANELS = {"face": (56, 430), "image": (506, 880)}
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")  # of Okabe and Ito's palette
_INK, _GRID = "#222222", "#e3e3e3"
_HIGHEST = 1.2


def bench_svg(records: Sequence[Record]) -> str:
    """An SVG document of 900 by 380 pixels on a white ground: one panel a family, one line a scene."""
    runs = [each for each in records if isinstance(each, Measurement)]
    body = [f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="#ffffff"/>']
    body.append(_text(16, 28, "Throughput of the service ÷ the limit of its cores", size=16, weight="bold"))
    for family, sides in _PANELS.items():
        body += _panel(family, [run for run in runs if run.family == family], *sides)
    lines = "\n".join(body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" font-family="Helvetica, Arial, sans-serif">\n'
        f"<title>Throughput of the service beside the limit of its cores</title>\n{lines}\n</svg>\n"
    )


def _panel(family: str, runs: Sequence[Measurement], left: int, right: int) -> list[str]:
    served = [run for run in runs if run.way == "service" and run.source == "data"]
    limit = [run for run in runs if run.way == "limit"]
    clients = sorted({run.clients for run in served})
    parts = [_text(left, 62, f"{family} search, by clients at work", weight="bold")]
    for step in range(7):
        value = step / 5
        parts.append(f'<path d="M{left} {_y(value):.1f}H{right}" stroke="{_INK if value == 1 else _GRID}"/>')
        parts.append(_text(left - 6, _y(value) + 4, f"{value:.1f}", anchor="end"))
    parts += [_text(_x(count, clients, left, right), _BOTTOM + 17, str(count), anchor="middle") for count in clients]
    for number, scene in enumerate(sorted({run.scene for run in served})):
        points = []
        for count in clients:
            chosen = [run for run in served if (run.scene, run.clients) == (scene, count)]
            value = median(ratios(chosen, limit, lambda run: run.rate))
            if not math.isnan(value):
                points.append((_x(count, clients, left, right), _y(min(value, _HIGHEST))))
        colour = _COLOURS[number % len(_COLOURS)]
        places = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in points]
        place = left + number * 96
        _, size, faces = scene
        parts.append(f'<rect x="{place}" y="332" width="14" height="10" fill="{colour}"/>')
        parts.append(_text(place + 19, 341, f"{size}, {faces} face{'s' if faces > 1 else ''}"))
    return parts


def _x(count: int, clients: Sequence[int], left: int, right: int) -> float:
    return left + (clients.index(count) + 0.5) * (right - left) / len(clients)


def _y(value: float) -> float:
    return _BOTTOM - value / _HIGHEST * (_BOTTOM - _TOP)


def _text(x: float, y: float, text: str, *, size: int = 12, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{_INK}" text-anchor="{anchor}" '
        f'font-weight="{weight}">{escape(text)}</text>'
    )
