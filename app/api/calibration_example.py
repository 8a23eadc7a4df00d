"""The calibration that the documentation shows: that of 80 photos of 16 people."""

from __future__ import annotations

from typing import Any, Final

from app.services.error_rates import wilson

_SAME, _DIFFERENT = 306, 2854
# Pairs of different and of the same identity at or over 0.05, 0.1, … 0.95.
_FALSE = (289, 94, 35, 12, 3, 2, *[0] * 13)
_TRUE = (306, 306, 306, 306, 306, 306, 306, 306, 303, 299, 298, 296, 295, 293, 283, 266, 238, 194, 95)


def _rates(threshold: float, false: int, true: int) -> dict[str, Any]:
    return {
        "threshold": threshold,
        "fmr": round(false / _DIFFERENT, 9),
        "fmr_interval": [round(end, 9) for end in wilson(false, _DIFFERENT)],
        "false_matches": false,
        "tpr": round(true / _SAME, 9),
        "tpr_interval": [round(end, 9) for end in wilson(true, _SAME)],
        "true_matches": true,
    }


CALIBRATION: Final[dict[str, Any]] = {
    "model": "dlib-resnet-v1",
    "count": 80,
    "left_out": 0,
    "rows": 80,
    "identities": 16,
    "sampled": False,
    "default_threshold": 0.45,
    "same": {
        "pairs": _SAME,
        "mean": 0.891401216,
        "median": 0.923119,
        "percentiles": {
            "1": 0.479692, "5": 0.700642, "25": 0.864929, "75": 0.956696, "95": 0.983836, "99": 0.99368,
        },
        "histogram": [
            *[0] * 17, 3, 0, 4, 0, 1, 1, 1, 1, 0, 2, 0, 4, 6, 11, 6, 12, 16, 17, 27, 43, 56, 71, 24,
        ],
    },
    "different": {
        "pairs": _DIFFERENT,
        "mean": 0.019979805,
        "median": 0.009617,
        "percentiles": {
            "1": 0.000603, "5": 0.001068, "25": 0.003621, "75": 0.021107, "95": 0.080552, "99": 0.156298,
        },
        "histogram": [2251, 314, 128, 67, 34, 25, 15, 8, 6, 3, 1, 0, 2, *[0] * 27],
    },
    "thresholds": [
        _rates(step / 20, false, true) for step, (false, true) in enumerate(zip(_FALSE, _TRUE, strict=True), 1)
    ],
    "wanted": [{"fmr": 0.001, "reliable": False, "found": _rates(0.264839, 2, 306)}],
}  # fmt: skip
