"""Reading the photos to train on."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from app.errors import OperatorError
from app.training.photos import read_photos
from tests.pictures import drawing, encoded


def test_photos_are_read_in_the_order_of_their_names_with_their_checksums(tmp_path: Path) -> None:
    (tmp_path / "deeper").mkdir()
    files = [tmp_path / "b.jpg", tmp_path / "deeper" / "a.png"]
    for seed, file in enumerate(files):
        file.write_bytes(encoded(drawing(seed, size=(900, 400)), "PNG" if file.suffix == ".png" else "JPEG"))
    photos = read_photos([tmp_path], say=lambda _: None)
    assert [photo.name for photo in photos] == ["b.jpg", "a.png"]
    assert [photo.sha256 for photo in photos] == [hashlib.sha256(file.read_bytes()).hexdigest() for file in files]
    assert {photo.image.size for photo in photos} == {(640, 284)}
    assert {photo.image.mode for photo in photos} == {"RGB"}


def test_a_photo_that_is_there_twice_is_taken_once_and_what_is_no_photo_is_named(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(encoded(drawing(1), "PNG"))
    (tmp_path / "2.jpg").write_bytes(encoded(drawing(1).resize((200, 150)), quality=80))
    (tmp_path / "3.png").write_bytes(encoded(drawing(3), "PNG"))
    (tmp_path / "4.png").write_bytes(encoded(drawing(4, size=(64, 64)), "PNG"))
    (tmp_path / "5.xml").write_text("<boxes/>")
    said: list[str] = []
    assert [photo.name for photo in read_photos([tmp_path], say=said.append)] == ["1.png", "3.png"]
    assert said == [
        "2.jpg shows the same as 1.png and is left out",
        "4.png is no photo that can be used",
        "5.xml is no photo that can be used",
    ]


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match=r"missing\.jpg cannot be read"):
        read_photos([tmp_path / "missing.jpg"], say=lambda _: None)
