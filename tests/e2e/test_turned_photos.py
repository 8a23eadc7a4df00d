"""Real photos turned by every multiple of 45°: found, known, and told which way up they are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps

from tests.photos import PHOTOS, people
from tests.pictures import encoded
from tests.running_service import RunningService, data_uri, fresh_group

pytestmark = pytest.mark.skipif(not (PHOTOS / "people").is_dir(), reason=f"no photos in {PHOTOS}")
COUNTER_CLOCKWISE = ["up", "up_left", "left", "down_left", "down", "down_right", "right", "up_right"]
EVERY = 10  # a photo takes half a second at each of eight angles


def turned(path: Path, degrees: int) -> str:
    """A data URI of the photo turned counter-clockwise; its corners lie on black where it is turned by half a quarter."""
    with Image.open(path) as opened:
        photo = ImageOps.exif_transpose(opened).convert("RGB")
    photo.thumbnail((1024, 1024))
    return data_uri(encoded(photo.rotate(degrees, Image.Resampling.BICUBIC, expand=True), quality=95))


@pytest.fixture(scope="module")
def known(service: RunningService) -> Iterator[dict[Path, str]]:
    """Photos of people who are there on several, and who it is; one upright photo of each is in the group ``known``."""
    several = {person: paths for person, paths in people().items() if len(paths) > 2}
    with fresh_group(service, "face", "known") as group:
        for person, (first, *_) in several.items():
            image = {"id": person, "uri": turned(first, 0)}
            assert service.call("POST", f"{group}/add", {"image": image}).status == 200
        others = {path: person for person, paths in several.items() for path in paths[1:]}
        yield dict(list(others.items())[::EVERY])


def test_whichever_way_a_photo_is_turned_its_face_is_found_known_and_told_which_way_up_it_is(
    service: RunningService, known: dict[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    def at(place: tuple[Path, int]) -> tuple[int, str, Any, Any]:
        path, degrees = place
        uri = turned(path, degrees)
        detected = service.call("POST", "/v1/face/detect", {"images": [uri]}).body["detect_results"][0]["faces"]
        body = {"images": [uri], "threshold": 0, "limit": 1}
        found = service.call("POST", "/v1/face/groups/known/search", body).body["search_results"][0]["faces"]
        return degrees, known[path], detected, found

    angles = range(0, 360, 45)
    with ThreadPoolExecutor(4) as pool:
        outcomes = list(pool.map(at, [(path, degrees) for path in known for degrees in angles]))
    lines, missed, mistaken, strangers = [], 0, 0, 0
    for degrees in angles:
        here = [(who, faces, hits) for angle, who, faces, hits in outcomes if angle == degrees]
        found = [(who, faces[0], hits[0]["faces"][0]) for who, faces, hits in here if faces]
        right = sum(
            face["face_quality"]["orientation"] == COUNTER_CLOCKWISE[degrees // 45] for _, face, _ in found
        )  # fmt: skip
        first = sum(hit["id"] == who for who, _, hit in found)
        sure = sum(hit["id"] == who and hit["score"] >= 0.45 for who, _, hit in found)
        lines.append(f"{degrees:>5}° {len(here):>7} {len(found):>6} {right:>7} {first:>7} {sure:>5}")
        missed += len(here) - len(found)
        mistaken += len(found) - right
        strangers += len(found) - sure
    with capsys.disabled():
        print("\n".join(["", " turn  photos  found  octant  rank-1  0.45", *lines]))
    assert len(outcomes) >= 40
    assert missed <= 1
    assert mistaken <= 1
    assert strangers <= 2


def test_a_crowd_on_its_side_or_upside_down_is_found_as_it_is_upright(
    service: RunningService, capsys: pytest.CaptureFixture[str]
) -> None:
    # Every other one of those with several faces.
    photos = [path for path in sorted((PHOTOS / "groups").glob("*.jpg")) if re.match(r"20|kit|two", path.name)][::2]

    def count(place: tuple[Path, int]) -> int:
        uri = turned(*place)
        return len(service.call("POST", "/v1/face/detect", {"images": [uri]}).body["detect_results"][0]["faces"])

    with ThreadPoolExecutor(4) as pool:
        counts = {angle: list(pool.map(count, [(path, angle) for path in photos])) for angle in (0, 90, 180, 270)}
    with capsys.disabled():
        print("\ncrowds:", ", ".join(f"{angle}° {sum(found)}" for angle, found in counts.items()), "faces found")
    assert sum(counts[0]) >= 15
    for angle in (90, 180, 270):
        assert abs(sum(counts[angle]) - sum(counts[0])) <= 0.1 * sum(counts[0])
