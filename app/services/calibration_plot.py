"""Draws a calibration report as an SVG: how scores are spread, and what each threshold costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

from app.services.calibrate import CalibrationReport
from app.services.error_rates import BINS, Distribution

_WIDTH, _HEIGHT = 900, 360
_TOP, _BOTTOM = 112, 300
_LEFT_PANEL, _RIGHT_PANEL = (66, 434), (536, 876)
# Of Okabe and Ito's palette, which the colour-blind can tell apart.
_SAME, _DIFFERENT = "#0072b2", "#d55e00"
_INK, _GREY, _GRID = "#222222", "#5f5f5f", "#e3e3e3"
_LONGEST_NAME = 24
_CHARACTER = 6.6  # the width of one, as a rule


class _Panel:
    """Axes: scores from left to right, a logarithmic scale from the bottom up, decades from ``low`` to ``high``."""

    def __init__(self, sides: tuple[int, int], low: float, high: float) -> None:
        self.left, self.right = sides
        self._low, self._high = math.log10(low), math.log10(high)

    def x(self, score: float) -> float:
        return self.left + score * (self.right - self.left)

    def y(self, value: float) -> float:
        """Where a value is; the bottom for all that are too small to show."""
        share = (math.log10(value) - self._low) / (self._high - self._low) if value > 0 else 0.0
        return _BOTTOM - max(0.0, share) * (_BOTTOM - _TOP)

    def axes(self, title: str, unit: str, label: str, ticks: Sequence[tuple[float, str]]) -> list[str]:
        """The title, the grid, the ticks with their labels."""
        middle = (_TOP + _BOTTOM) / 2
        parts = [_text(self.left, 74, title, weight="bold")]
        for value, text in ticks:
            parts.append(_line(self.left, self.y(value), self.right, self.y(value), _GRID))
            parts.append(_text(self.left - 6, self.y(value) + 4, text, anchor="end"))
        for step in range(6):
            place = self.x(step / 5)
            parts.append(_line(place, _BOTTOM, place, _BOTTOM + 4, _GREY))
            parts.append(_text(place, _BOTTOM + 17, f"{step / 5:.1f}", anchor="middle"))
        parts.append(_text((self.left + self.right) / 2, _BOTTOM + 38, label, anchor="middle"))
        place = self.left - 18 - _CHARACTER * max(len(text) for _, text in ticks)
        turn = f'transform="rotate(-90 {place:.1f} {middle:.1f})"'
        return [*parts, _text(place, middle, unit, anchor="middle", more=turn)]

    def baseline(self) -> str:
        """The lower axis, to be drawn over what stands on it."""
        return _line(self.left, _BOTTOM, self.right, _BOTTOM, _GREY)

    def upright(self, score: float) -> str:
        """A dashed line at a threshold."""
        return _line(self.x(score), _TOP, self.x(score), _BOTTOM, _INK, dashes="5 4")


def calibration_svg(group: str, report: CalibrationReport) -> str:
    """An SVG document of 900 by 360 pixels on a white ground, the same for the same report.

    On the left are the numbers of pairs by score, on the right the rates of both errors by threshold: strangers taken
    for the same (FMR), and the same taken for strangers (one minus TPR).
    """
    rates = report.rates
    heading = f"Scores in the group {group}"
    scope = (
        f"{report.rows:,} images of {report.identities:,} identities; "
        f"pairs: {rates.same.pairs:,} of the same identity, {rates.different.pairs:,} of different ones"
    )
    body = [
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="6" fill="#ffffff"/>',
        _text(16, 28, heading, size=16, weight="bold"),
        _text(_WIDTH - 16, 28, f"model {_shortened(report.model_id)}", colour=_GREY, anchor="end"),
        _text(16, 47, scope, colour=_GREY),
        *_histograms(report),
        *_errors(report),
    ]
    lines = "\n".join(body)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" font-family="Helvetica, Arial, sans-serif">\n'
        f"<title>{escape(heading)}</title>\n{lines}\n</svg>\n"
    )


def _histograms(report: CalibrationReport) -> list[str]:
    same, different = report.rates.same, report.rates.different
    top = 10 ** math.ceil(math.log10(max(10, *same.histogram, *different.histogram)))
    panel = _Panel(_LEFT_PANEL, 0.5, top)  # so that a single pair has a height
    ticks = [(10.0**power, _count(10**power)) for power in range(round(math.log10(top)) + 1)]
    return [
        *panel.axes("How scores are spread", "pairs", "score", ticks),
        *_legend(
            panel.left, (_DIFFERENT, "different"), (_SAME, "same"), (_INK, f"default {report.default_threshold:g}")
        ),
        _bars(panel, different, _DIFFERENT),
        _bars(panel, same, _SAME),
        panel.baseline(),
        panel.upright(report.default_threshold),
    ]


def _bars(panel: _Panel, scores: Distribution, colour: str) -> str:
    path = [f"M{panel.x(0):.1f} {_BOTTOM}"]
    for number, pairs in enumerate(scores.histogram):
        path.append(f"V{panel.y(pairs):.1f}H{panel.x((number + 1) / BINS):.1f}")
    return f'<path d="{"".join(path)}V{_BOTTOM}Z" fill="{colour}" fill-opacity="0.35" stroke="{colour}"/>'


def _errors(report: CalibrationReport) -> list[str]:
    rates = report.rates
    low = 10 ** math.floor(math.log10(min(0.01, 1 / rates.different.pairs, 1 / rates.same.pairs)))
    zero = low / 10  # a logarithmic scale has none: one decade lower stands for it
    panel = _Panel(_RIGHT_PANEL, zero, 1)
    ticks = [(10.0**power, f"{10.0 ** (power + 2):g} %") for power in range(round(math.log10(low)), 1)]
    ticks.append((zero, "0"))
    false = [(threshold, rate) for threshold, rate, _ in rates.curve]
    missed = [(threshold, 1 - rate) for threshold, _, rate in rates.curve]
    dots = [
        f'<circle cx="{panel.x(found.threshold):.1f}" cy="{panel.y(found.false.rate):.1f}" r="4" '
        f'fill="{_DIFFERENT if wanted.reliable else "#ffffff"}" stroke="{_DIFFERENT}"/>'
        for wanted in rates.wanted
        if (found := wanted.found) is not None
    ]
    return [
        *panel.axes("What a threshold costs", "rate", "threshold (● wanted FMR, ○ too few pairs to show it)", ticks),
        *_legend(panel.left, (_DIFFERENT, "false matches (FMR)"), (_SAME, "missed matches (1 − TPR)")),
        _curve(panel, false, _DIFFERENT),
        _curve(panel, missed, _SAME),
        panel.baseline(),
        panel.upright(report.default_threshold),
        *dots,
    ]


def _curve(panel: _Panel, points: Sequence[tuple[float, float]], colour: str) -> str:
    """A line through all points that are not zero, and down to the bottom where the first zero is beside them."""
    shown = [
        point
        for number, point in enumerate(points)
        if point[1] > 0 or any(value > 0 for _, value in points[max(0, number - 1) : number + 2])
    ]
    places = " ".join(f"{panel.x(score):.1f},{panel.y(value):.1f}" for score, value in shown)
    return f'<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="2"/>'


def _legend(left: float, *entries: tuple[str, str]) -> list[str]:
    parts = []
    for colour, text in entries:
        if colour == _INK:
            parts.append(_line(left, 90, left + 14, 90, colour, dashes="5 4"))
        else:
            parts.append(f'<rect x="{left:.1f}" y="85" width="14" height="10" fill="{colour}" fill-opacity="0.8"/>')
        parts.append(_text(left + 19, 94, text))
        left += 40 + _CHARACTER * len(text)
    return parts


def _text(
    x: float, y: float, text: str, *, size: int = 12, colour: str = _INK, anchor: str = "", weight: str = "",
    more: str = "",
) -> str:  # fmt: skip
    options = {"text-anchor": anchor, "font-weight": weight}
    written = "".join(f' {name}="{value}"' for name, value in options.items() if value) + (f" {more}" if more else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}"{written}>{escape(text)}</text>'


def _line(x: float, y: float, to_x: float, to_y: float, colour: str, *, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}"{dashed}/>'


def _count(number: int) -> str:
    for unit, size in (("M", 10**6), ("k", 1000)):
        if number >= size:
            return f"{number // size}{unit}"
    return str(number)


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
