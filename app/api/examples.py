"""The face that the documentation's examples are about."""

from __future__ import annotations

from typing import Any, Final

FACE_BOX: Final[dict[str, Any]] = {"pts": [[177, 58], [271, 58], [271, 195], [177, 195]], "score": 0.870654}

FACE_QUALITY: Final[dict[str, Any]] = {"quality": "clear", "orientation": "up"}

FACE_HIT: Final[dict[str, Any]] = {
    "score": 0.93,
    "id": "staff/ada.jpg",
    "tag": "staff",
    "desc": {"name": "Ada"},
    "bounding_box": FACE_BOX,
}
