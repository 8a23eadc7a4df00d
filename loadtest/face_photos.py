"""Which of the photos show a face that may be added: looked at once, before a load test begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from loadtest.photo_pool import Photo

_FACE_MIN_SIZE = 50  # the service's default for faces that may be added
_MOST_FACES = 32  # photos
_DETECTED_AT_ONCE = 8


def with_faces(photos: list[Photo], post: Callable[[str, object], Any]) -> list[Photo]:
    """Some of the photos, spread over all of them, whose largest face is large enough.

    Args:
        photos: to choose from.
        post: calls the service: a path and a body give its answer.

    Raises:
        ValueError: there is none.
        OSError: the service does not answer, or refuses.
    """
    some = photos[:: -(-len(photos) // _MOST_FACES)]
    found = []
    for start in range(0, len(some), _DETECTED_AT_ONCE):
        part = some[start : start + _DETECTED_AT_ONCE]
        answer = post("/v1/face/detect", {"images": [photo.uri for photo in part]})
        for photo, faces in zip(part, answer["detect_results"], strict=True):
            if any(_is_large(face["bounding_box"]["pts"]) for face in faces["faces"]):
                found.append(photo)
    if not found:
        raise ValueError("none of the photos shows a face that is large enough: name a folder that has some.")
    return found


def _is_large(pts: list[list[int]]) -> bool:
    (left, top), _, (right, bottom), _ = pts
    return min(right - left, bottom - top) >= _FACE_MIN_SIZE
