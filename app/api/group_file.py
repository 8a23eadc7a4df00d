"""The file of an exported group: JSON Lines with a header, the rows, and a last line that vouches for all before it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated, Final, Literal, TypeVar

import msgspec
import numpy as np
from msgspec import UNSET, Meta, Struct, UnsetType

from app.api import schemas, validation
from app.api.lines import lines
from app.api.sentences import sentence
from app.errors import DamagedFile, InvalidRequest
from app.services.transfer import Export, GroupFacts
from app.store.records import BoundingBox, EmbeddingSpace, Family, Metric, Record, Row

VERSION: Final = 2
_WITHOUT_TTL: Final = 1  # what groups whose rows stay are written as: older versions can read them
_FORMAT: Final = "likeness-group"
_LONGEST_LINE: Final = 1 << 20  # a row has at most some 130 KB: description 64, id 24 when escaped, embedding 43
_TOO_LONG = "A line of the file is longer than a row can be: it is no file of an exported group."
_GZIP = b"\x1f\x8b"

LineT = TypeVar("LineT", bound=Struct)
Words = Annotated[str, Meta(min_length=1, max_length=1024)]


class GroupFileHeader(Struct, kw_only=True):
    """The first line of a group's file."""

    format: Literal["likeness-group"] = _FORMAT
    version: Annotated[int, Meta(ge=1, description="Of the format: 1, or 2 of a group with `ttl_seconds`.")]
    family: Annotated[str, Meta(description="`image` or `face`.")]
    name: Annotated[str, Meta(description="The group's name when it was exported.")]
    capacity: schemas.Capacity
    model: Annotated[Words, Meta(description="The model that made the embeddings.")]
    dimension: Annotated[int, Meta(ge=1, le=32768, description="Numbers of each embedding.")]
    metric: Annotated[str, Meta(description="How embeddings are compared: `L2` or `COSINE`.")]
    count: Annotated[schemas.Count, Meta(description="Rows when the export began; the last line has those written.")]
    ttl_seconds: schemas.TtlSeconds | UnsetType = UNSET


class GroupFileRow(Struct, kw_only=True):
    """A row of a group's file."""

    id: schemas.Id
    tag: schemas.Tag
    desc: schemas.Desc
    bounding_box: Annotated[schemas.BoundingBox, Meta(description="Faces only.")] | UnsetType = UNSET
    embedding: Annotated[bytes, Meta(description="32-bit floats, little-endian, in base64.")]
    expires: (
        Annotated[int, Meta(description="Of a group with `ttl_seconds`: the end of its time, in seconds of Unix time.")]
        | UnsetType
    ) = UNSET


class GroupFileEnd(Struct, kw_only=True, forbid_unknown_fields=True):
    """The last line of a group's file."""

    rows: Annotated[schemas.Count, Meta(description="Number of rows.")]
    sha256: Annotated[str, Meta(description="Of all bytes before this line, in hexadecimal.")]


async def group_file(export: Export) -> AsyncGenerator[bytes, None]:
    """The file of a group in pieces of whole lines; the first piece is the header."""
    facts, space = export.facts, export.facts.space
    digest = hashlib.sha256()
    count = 0
    header = GroupFileHeader(
        version=VERSION if facts.ttl_seconds is not None else _WITHOUT_TTL,
        family=facts.family.value,
        name=facts.name,
        capacity=facts.capacity,
        model=space.model_id,
        dimension=space.dimension,
        metric=space.metric.value,
        count=facts.count,
        ttl_seconds=UNSET if facts.ttl_seconds is None else facts.ttl_seconds,
    )
    piece = msgspec.json.encode(header) + b"\n"
    digest.update(piece)
    yield piece
    async for records in export.portions:
        if records:
            piece = b"".join(msgspec.json.encode(written(record)) + b"\n" for record in records)
            digest.update(piece)
            count += len(records)
            yield piece
    yield msgspec.json.encode(GroupFileEnd(rows=count, sha256=digest.hexdigest())) + b"\n"


class GroupFileReader:
    """Reads a group's file: first ``header``, then ``records`` to the end.

    Args:
        chunks: the bytes of the file, in pieces of any length.
    """

    def __init__(self, chunks: AsyncIterator[bytes]) -> None:
        self._lines = lines(chunks, longest=_LONGEST_LINE, too_long=DamagedFile(_TOO_LONG))
        self._digest = hashlib.sha256()
        self._header: GroupFileHeader | None = None

    async def header(self) -> GroupFileHeader:
        """What the first line says.

        Raises:
            DamagedFile: it is not the first line of such a file.
            InvalidRequest: the file is of a version that is not known here.
        """
        line = await anext(self._lines, b"")
        if line.startswith(_GZIP):
            raise DamagedFile("The file is compressed: unpack it (gunzip) before it is sent.")
        try:
            version = msgspec.json.decode(line, type=_Version).version
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DamagedFile("This is no file of an exported group: its first line is not the header.") from error
        if version > VERSION:
            message = (
                f"The file has version {version} of the format, {VERSION} is the newest known here: update Likeness."
            )
            raise InvalidRequest(message)
        self._header = _decoded(line, GroupFileHeader, number=1)
        if self._header.family not in set(Family) or self._header.metric not in set(Metric):
            raise DamagedFile("Line 1 of the file: its family or its metric is unknown.")
        self._digest.update(line)
        return self._header

    async def records(self) -> AsyncGenerator[Record, None]:
        """The rows.

        Raises:
            DamagedFile: a line is no row, or the last one does not vouch for those before: after the rows.
        """
        header = self._header
        assert header is not None, "the header is read first"
        count = 0
        held: bytes | None = None  # the last line is known as such only when no other follows
        async for line in self._lines:
            if held is not None:
                count += 1
                self._digest.update(held)
                yield _record(held, header, number=count + 1)
            held = line
        try:
            end = msgspec.json.decode(held or b"", type=GroupFileEnd)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise DamagedFile("The file was cut: its last line, with the checksum, is missing.") from error
        if end.rows != count or end.sha256 != self._digest.hexdigest():
            raise DamagedFile("The file was altered: its checksum is not that of its rows.")


def facts_of(header: GroupFileHeader, *, name: str) -> GroupFacts:
    """What a header says of a group that is to have this name."""
    space = EmbeddingSpace(header.model, header.dimension, Metric(header.metric))
    ttl = None if isinstance(header.ttl_seconds, UnsetType) else header.ttl_seconds
    return GroupFacts(Family(header.family), name, header.capacity, space, header.count, ttl)


class _Version(Struct):
    format: Literal["likeness-group"]
    version: int


def _decoded(line: bytes, kind: type[LineT], *, number: int) -> LineT:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.ValidationError as error:
        message = f"Line {number} of the file: {sentence(str(error))}"
        raise DamagedFile(message) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise DamagedFile(f"Line {number} of the file is no JSON.") from error


def _record(line: bytes, header: GroupFileHeader, *, number: int) -> Record:
    row = _decoded(line, GroupFileRow, number=number)
    embedding = np.frombuffer(row.embedding, "<f4").astype(np.float32) if len(row.embedding) % 4 == 0 else None
    if embedding is None or len(embedding) != header.dimension:
        raise DamagedFile(f"Line {number} of the file: the embedding has not {header.dimension} numbers of 4 bytes.")
    if not np.isfinite(embedding).all() or not embedding.any():
        raise DamagedFile(f"Line {number} of the file: the embedding is zero, or has what is no number.")
    box = None
    if header.family == Family.FACE:
        if isinstance(row.bounding_box, UnsetType):
            raise DamagedFile(f"Line {number} of the file: bounding_box is missing.")
        score = row.bounding_box.score
        box = BoundingBox(
            tuple((x, y) for x, y in row.bounding_box.pts), None if isinstance(score, UnsetType) else score
        )
    try:
        name = validation.image_id(row.id, field="id")
        tag, desc = validation.tag(row.tag, field="tag"), validation.desc(row.desc)
    except InvalidRequest as error:
        raise DamagedFile(f"Line {number} of the file: {error.message}") from error
    if not name:
        raise DamagedFile(f"Line {number} of the file: id is empty.")
    return Record(Row(name, tag, desc, box), embedding, None if isinstance(row.expires, UnsetType) else row.expires)


def written(record: Record) -> GroupFileRow:
    """A row as files have it."""
    row, box = record.row, record.row.bounding_box
    shape: schemas.BoundingBox | UnsetType = UNSET
    if box is not None:  # its score is not rounded as in other answers: what is restored shall be the same
        shape = schemas.BoundingBox([list(point) for point in box.pts], UNSET if box.score is None else box.score)
    return GroupFileRow(
        id=row.id,
        tag=row.tag,
        desc=msgspec.Raw(row.desc.encode()),
        bounding_box=shape,
        embedding=record.embedding.astype("<f4").tobytes(),
        expires=UNSET if record.expires is None else record.expires,
    )
