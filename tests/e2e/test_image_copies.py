"""Altered copies of pictures find the original as an image, through the whole stack."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image

from app.training.variants import VARIANTS
from tests.photos import astronaut, skimage_photo
from tests.pictures import drawing, encoded
from tests.running_service import RunningService, data_uri, fresh_group

PICTURES: dict[str, Callable[[], Image.Image]] = {
    "astronaut": astronaut,
    "drawing": lambda: drawing(1),  # the projection was trained on photos alone
    "coffee": lambda: skimage_photo("coffee.png"),
    "drawing 2": lambda: drawing(2),
    "drawing 3": lambda: drawing(3),
}
COPIES = (
    "resized to 50 %",
    "stretched by 1.3",
    "JPEG quality 30",
    "brightness 1.4",
    "gamma 1.7",
    "grey",
    "mirrored",
    "turned by 90°",
    "turned by 270°",
    "tilted by 10°",
    "cropped by 10 % a side",
    "patch over 10 %",
)


@pytest.fixture(scope="module")
def group(service: RunningService) -> Iterator[str]:
    """A group of some photos and drawings."""
    with fresh_group(service, "image", "originals") as path:
        for name, make in PICTURES.items():
            image = {"id": name, "uri": data_uri(encoded(make(), "PNG"))}
            assert service.call("POST", f"{path}/add", {"image": image}).status == 200
        yield path


@pytest.mark.parametrize("picture", ["astronaut", "drawing"])
@pytest.mark.parametrize("name", COPIES)
def test_an_altered_copy_finds_its_original_first_at_the_recommended_threshold(
    service: RunningService, group: str, name: str, picture: str
) -> None:
    copy = VARIANTS[name](PICTURES[picture](), drawing(9), np.random.default_rng(1))
    body = {"images": [data_uri(encoded(copy, quality=85))]}
    hits = service.call("POST", f"{group}/search", body).body["search_results"][0]["results"]
    assert [hit["id"] for hit in hits][:1] == [picture]
    assert hits[0]["score"] >= 0.3


def test_another_picture_finds_nothing(service: RunningService, group: str) -> None:
    for picture in (skimage_photo("rocket.jpg"), skimage_photo("chelsea.png"), Image.new("RGB", (300, 200), "white")):
        body = {"images": [data_uri(encoded(picture))]}
        assert service.call("POST", f"{group}/search", body).body == {"search_results": [{"results": []}]}
