"""Writes ``dashboards/*.json`` from ``panels.py``: ``python -m triton.grafana.write_dashboards``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from triton.grafana.likeness_board import LIKENESS
from triton.grafana.panels import Dashboard, Panel
from triton.grafana.triton_board import TRITON

FOLDER = Path(__file__).resolve().parent / "dashboards"
_WIDTH, _HEIGHT, _ACROSS = 8, 8, 3
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboards() -> dict[str, str]:
    """The text of each file, by its name."""
    return {
        f"{name}.json": json.dumps(_document(board), indent=2, ensure_ascii=False) + "\n"
        for name, board in (("likeness", LIKENESS), ("triton", TRITON))
    }


def _document(board: Dashboard) -> dict[str, Any]:
    panels: list[dict[str, Any]] = []
    top = 0
    for row in board.rows:
        panels.append({"type": "row", "title": row.title, "gridPos": _place(0, top, 24, 1), "panels": []})
        top += 1
        for number, panel in enumerate(row.panels):
            column, line = number % _ACROSS, number // _ACROSS
            place = _place(column * _WIDTH, top + line * _HEIGHT, _WIDTH, _HEIGHT)
            panels.append(_graph(panel, place))
        top += -(-len(row.panels) // _ACROSS) * _HEIGHT
    for number, shown in enumerate(panels, start=1):
        shown["id"] = number
    return {
        "uid": board.uid,
        "title": board.title,
        "description": board.doc,
        "tags": ["likeness"],
        "schemaVersion": 39,
        "editable": True,
        "timezone": "browser",
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {
            "list": [{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}]
        },
        "panels": panels,
    }


def _graph(panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    stacking = {"mode": "normal" if panel.stacked else "none"}
    custom = {"fillOpacity": 20 if panel.stacked else 5, "showPoints": "never", "stacking": stacking}
    return {
        "type": "timeseries",
        "title": panel.title,
        "description": panel.doc,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
            for number, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def _place(x: int, y: int, w: int, h: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": w, "h": h}


if __name__ == "__main__":
    for file, text in dashboards().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
