"""Lists of images: folders, CSV and JSON Lines, what stands in them, and what is wrong with them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec
import pytest

from app.commands.image_list import Candidate, image_list
from app.errors import OperatorError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of images beside a secret one."""
    root = tmp_path / "photos"
    for name in (
        "b.JPG",
        "ada/1.jpeg",
        "ada/2.png",
        "ada/deep/3.webp",
        "bob/ü 'x'.heic",
        "notes.txt",
        ".hidden.jpg",
        ".git/x.jpg",
    ):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key.jpg").write_bytes(b"secret")
    (root / "link.jpg").symlink_to(secret / "key.jpg")
    (root / "linked").symlink_to(secret)
    return root


def listed(source: Path) -> list[Candidate]:
    images = image_list(source)
    found = list(images)
    assert len(images) == len(found)
    return found


def faults(source: Path) -> list[str]:
    return [each.fault for each in listed(source)]


def test_a_folder_gives_its_images_by_path_with_the_first_folder_as_tag_and_follows_no_links(folder: Path) -> None:
    assert [(each.id, each.tag) for each in listed(folder)] == [
        ("b.JPG", ""), ("ada/1.jpeg", "ada"), ("ada/2.png", "ada"), ("ada/deep/3.webp", "ada"), ("bob/ü 'x'.heic", "bob"),
    ]  # fmt: skip
    assert all(each.path == folder / each.id and not each.fault for each in listed(folder))


def test_a_file_whose_name_is_no_text_is_told(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.jpg")).write_bytes(b"x")
    [bad] = [each for each in listed(folder) if each.fault]
    assert bad.fault == "The file's name is not UTF-8: rename it."
    json.dumps(bad.id).encode()


def test_a_csv_gives_uris_and_paths_beside_it(folder: Path) -> None:
    file = folder / "list.csv"
    file.write_text(
        '\ufeffid,path,uri,tag,desc\r\none,ada/1.jpeg,,staff,"{""n"": 1}"\r\n,ada/2.png,,,\r\n'
        '"a\nb",,https://example.com/x.jpg,t,"""text"""\r\n,,https://example.com/y.jpg,,7\r\n',
        encoding="utf-8",
    )
    found = listed(file)
    assert [(each.id, each.path, each.uri, each.tag) for each in found] == [
        ("one", folder / "ada/1.jpeg", None, "staff"),
        ("ada/2.png", folder / "ada/2.png", None, ""),
        ("a\nb", None, "https://example.com/x.jpg", "t"),
        ("https://example.com/y.jpg", None, "https://example.com/y.jpg", ""),
    ]
    descs = [each.desc for each in found]
    assert [bytes(each) if isinstance(each, msgspec.Raw) else None for each in descs] == [
        b'{"n": 1}',
        None,
        b'"text"',
        b"7",
    ]


def test_what_is_wrong_with_a_line_of_a_csv_is_its_own_fault(folder: Path) -> None:
    file = folder / "list.csv"
    file.write_bytes(
        b"id,path,desc\na,ada/1.jpeg,{x\nb,ada/1.jpeg\nc,ada/1.jpeg,1,2\nd,nowhere.jpg,\ne,,\nf,\xff.jpg,\n"
        b'g,ada/1.jpeg,"x"y\nh,ada/1.jpeg,1\n'
    )
    told = faults(file)
    for fault, word in zip(told, ["desc is no JSON", "number of fields", "number of fields", "no file", "Neither",
                                  "not UTF-8", "is no CSV", ""], strict=True):  # fmt: skip
        assert word in fault
        assert bool(word) == bool(fault)
    assert told[0].startswith("line 2: ")
    assert told[3].startswith("line 5: ")


@pytest.mark.parametrize("header", ["", "id,tag\n", "uri,name\n", "uri,uri\n"])
def test_a_csv_needs_a_header(folder: Path, header: str) -> None:
    (folder / "list.csv").write_text(header)
    with pytest.raises(OperatorError, match="must name its columns"):
        image_list(folder / "list.csv")


def test_json_lines_are_the_images_of_the_api_or_have_a_path(folder: Path) -> None:
    file = folder / "list.jsonl"
    lines = [
        '{"id": "one", "uri": "https://example.com/x.jpg", "tag": "t", "desc": [1.0], "bounding_box": {"pts": []}, "x": 1}',
        "  ",
        '{"path": "ada/1.jpeg"}',
        '{"id": "two", "uri": "data:;base64,AAAA"}',
    ]
    file.write_text("\n".join(lines))
    one, two, three = listed(file)
    assert (one.id, one.uri, one.tag) == ("one", "https://example.com/x.jpg", "t")
    assert isinstance(one.desc, msgspec.Raw)
    assert isinstance(one.bounding_box, msgspec.Raw)
    assert (bytes(one.desc), bytes(one.bounding_box)) == (b"[1.0]", b'{"pts": []}')
    assert (two.id, two.path) == ("ada/1.jpeg", folder / "ada/1.jpeg")
    assert three.id == "two"


def test_what_is_wrong_with_a_json_line_is_its_own_fault(folder: Path) -> None:
    file = folder / "list.ndjson"
    file.write_bytes(
        b'{"id": "a"}\n{"id": 7, "uri": "x"}\nnot json\n{"uri": "data:;base64,AAAA"}\n{"uri": "x", "path": "y"}\n[]\n'
        b'{"id":"\xff","uri":"x"}\n'
    )
    words = ["Neither", "id must be a string", "no JSON", "id is missing", "Both", "must be an object", "no JSON"]
    for number, (fault, word) in enumerate(zip(faults(file), words, strict=True), 1):
        assert fault.startswith(f"line {number}: ")
        assert word in fault


@pytest.mark.parametrize(
    "path",
    ["../secret/key.jpg", "link.jpg", "linked/key.jpg", "/etc/hostname", "ada/../../secret/key.jpg", "a\0b", "ada"],
)
def test_no_path_of_a_list_leads_out_of_its_folder(folder: Path, path: str) -> None:
    file = folder / "list.jsonl"
    file.write_text(json.dumps({"path": path}))
    [image] = listed(file)
    assert image.path is None
    assert image.fault.endswith(".")


def test_what_is_no_list_is_told(folder: Path) -> None:
    for source, word in ((folder / "nowhere", "There is no folder"), (folder / "notes.txt", "neither a folder nor")):
        with pytest.raises(OperatorError, match=word):
            image_list(source)
