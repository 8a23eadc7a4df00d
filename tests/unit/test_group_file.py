"""The file of an exported group: what is written is read the same, and what was cut or altered is told."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence

import numpy as np
import pytest

from app.api.group_file import GroupFileReader, facts_of, group_file
from app.errors import DamagedFile, InvalidRequest
from app.services.transfer import Export, GroupFacts
from app.store.records import BoundingBox, EmbeddingSpace, Family, Metric, Record, Row

SPACE = EmbeddingSpace("m", 4, Metric.COSINE)
FACTS = GroupFacts(Family.FACE, "crew", 300, SPACE, 3)
BOX = ((1, 2), (3, 2), (3, 4), (-1, 4))


def face(name: str, at: Sequence[float], *, desc: str = "{}", score: float | None = 0.1 + 0.2) -> Record:
    return Record(Row(name, "t", desc, BoundingBox(BOX, score)), np.array(at, np.float32))


ROWS = [
    face("é'1\n\"", [1e-30, -0.5, 3.4e38, 0], desc='{"b":1,"a":[1.0,1e999],"b":"\\u00e9"}'),
    face("é'2", [1, 2, 3, 4], score=None),
    face("é'3", [0.1, 0.2, 0.3, 0.4], desc='"' + "x" * 65534 + '"', score=1),
]


async def written(rows: Sequence[Record], *, facts: GroupFacts = FACTS) -> bytes:
    async def portions() -> AsyncGenerator[Sequence[Record], None]:
        yield rows[:2]
        yield []
        yield rows[2:]

    return b"".join([piece async for piece in group_file(Export(facts, portions()))])


async def cut_into(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def read(data: bytes, *, size: int = 1 << 16) -> tuple[GroupFacts, list[Record]]:
    reader = GroupFileReader(cut_into(data, size))
    facts = facts_of(await reader.header(), name="crew")
    return facts, [record async for record in reader.records()]


def signed(*lines: bytes) -> bytes:
    """A file of these lines with a last line that vouches for them."""
    data = b"".join(lines)
    end = {"rows": len(lines) - 1, "sha256": hashlib.sha256(data).hexdigest()}
    return data + json.dumps(end).encode() + b"\n"


async def problem(data: bytes) -> str:
    with pytest.raises(InvalidRequest) as refused:
        await read(data)
    return refused.value.message


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20])
async def test_what_is_written_is_read_the_same_to_the_last_bit(size: int) -> None:
    data = await written(ROWS)
    if size == 1:
        data = await written(ROWS[:2])
    facts, rows = await read(data, size=size)
    assert facts == FACTS
    assert [row.row for row in rows] == [row.row for row in ROWS[: len(rows)]]
    assert [row.embedding.tobytes() for row in rows] == [row.embedding.tobytes() for row in ROWS[: len(rows)]]
    assert len(rows) == (2 if size == 1 else 3)


async def test_the_file_is_json_lines_with_a_header_and_a_last_line_that_vouches_for_the_rest() -> None:
    data = await written(ROWS)
    header, *rows, end = map(json.loads, data.splitlines())
    assert header == {
        "format": "likeness-group", "version": 1, "family": "face", "name": "crew", "capacity": 300, "model": "m",
        "dimension": 4, "metric": "COSINE", "count": 3,
    }  # fmt: skip
    assert rows[1] == {
        "id": "é'2", "tag": "t", "desc": {}, "bounding_box": {"pts": [list(point) for point in BOX]},
        "embedding": "AACAPwAAAEAAAEBAAACAQA==",
    }  # fmt: skip
    before = data[: data.rindex(b'{"rows"')]
    assert end == {"rows": 3, "sha256": hashlib.sha256(before).hexdigest()}


async def test_an_image_has_no_box_and_an_empty_group_no_rows() -> None:
    facts = GroupFacts(Family.IMAGE, "crew", 300, SPACE, 1)
    image = Record(Row("a", "t", "1", None), np.ones(4, np.float32))
    data = await written([image], facts=facts)
    assert b"bounding_box" not in data
    assert (await read(data))[1][0].row == image.row
    assert (await read(await written([])))[1] == []


async def test_a_file_that_was_cut_anywhere_is_told() -> None:
    data = await written(ROWS[:2])
    ends = [number + 1 for number, byte in enumerate(data) if byte == 10]
    for end in {0, 1, 40, ends[0], ends[0] + 9, ends[1], ends[1] + 30, ends[2], ends[2] + 5, len(data) - 3}:
        assert await problem(data[:end]), end
    assert (await read(data[:-1]))[1], "the last newline is not missed"


@pytest.mark.parametrize("place", ["capacity", "AACAPw", '"t"', '"rows"', "sha256"])
async def test_a_file_in_which_a_byte_was_changed_is_told(place: str) -> None:
    data = bytearray(await written(ROWS[:2]))
    at = data.index(place.encode()) + len(place) + 3
    data[at] = ord("7") if data[at] != ord("7") else ord("8")
    assert await problem(bytes(data))


async def test_rows_that_were_left_out_swapped_or_added_are_told() -> None:
    header, one, two, end = (await written(ROWS[:2])).splitlines(keepends=True)
    for lines in (
        [header, one, end],
        [header, two, one, end],
        [header, one, two, two, end],
        [header, one, two, end, end],
    ):
        assert await problem(b"".join(lines))
    assert "was altered" in await problem(header + two + one + end)
    assert "was cut" in await problem(header + one + two)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        (b'"id":"a"', b'"id":""', "Line 2 of the file: id is empty."),
        (b'"id":"a"', b'"id":"\\u0001"', "Line 2 of the file: id holds a control character"),
        (b'"id":"a"', b'"name":"a"', "Line 2 of the file: id is missing."),
        (b'"tag":"t"', b'"tag":"' + b"t" * 257 + b'"', "tag is longer"),
        (b'"desc":{}', b'"desc":"' + b"x" * 70000 + b'"', "65536 are kept"),
        (b"AACAPwAAAEAAAEBAAACAQA==", b"AACAPwAAAEAAAEBA", "has not 4 numbers"),
        (b"AACAPwAAAEAAAEBAAACAQA==", b"AACAPwAAAEAAAEBAAAA=", "has not 4 numbers"),
        (b"AACAPwAAAEAAAEBAAACAQA==", b"AAAAAAAAAAAAAAAAAAAAAA==", "is zero"),
        (b"AACAPwAAAEAAAEBAAACAQA==", b"AADAfwAAAEAAAEBAAACAQA==", "no number"),
        (b"AACAPwAAAEAAAEBAAACAQA==", b"not base64", "Line 2 of the file"),
        (b'"pts":[[1,2],', b'"pts":[', "Line 2 of the file"),
        (b'"bounding_box"', b'"box"', "bounding_box is missing"),
        (b'{"id"', b'{"id', "Line 2 of the file is no JSON."),
        (b'"family":"face"', b'"family":"voice"', "family or its metric"),
        (b'"capacity":300', b'"capacity":0', "Line 1 of the file: capacity must be at least 1."),
        (b'"version":1', b'"version":3', "version 3 of the format, 2 is the newest"),
        (b'"format":"likeness-group"', b'"format":"zip"', "no file of an exported group"),
    ],
)
async def test_a_line_that_does_not_fit_is_named(old: bytes, new: bytes, word: str) -> None:
    header, row, _ = (await written([face("a", [1, 2, 3, 4])])).splitlines(keepends=True)
    assert (header + row).count(old) == 1
    assert word in await problem(signed(*(header + row).replace(old, new).splitlines(keepends=True)))


async def test_what_is_no_such_file_at_all_is_told() -> None:
    for data in (b"", b"\n", b"PK\x03\x04", b"[]", b"\xff\xfe{}"):
        assert await problem(data) == "This is no file of an exported group: its first line is not the header."
    assert "gunzip" in await problem(b"\x1f\x8b\x08")
    with pytest.raises(DamagedFile, match="longer than a row"):
        await read((await written([]))[:-1] + b" " * (2 << 20))
