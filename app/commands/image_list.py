"""Images that are to be imported: a folder of files, a CSV, or JSON Lines."""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import UNSET, Raw, UnsetType

from app.api.sentences import sentence
from app.errors import OperatorError

SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".heic", ".heif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_COLUMNS = frozenset({"id", "uri", "path", "tag", "desc"})
_LONGEST_FIELD = 96 << 20  # bytes of a line or of a field in a CSV: a data URI can stand in one


class Fault(Exception):
    """What is wrong with one image of a list, in a sentence."""


class ListedImage(msgspec.Struct, kw_only=True):
    """A line of JSON Lines: the API's image, with ``path`` beside ``uri``."""

    id: str | None = None
    uri: str | None = None
    path: str | None = None
    tag: str | None = None
    desc: Raw | UnsetType = UNSET
    bounding_box: Raw | UnsetType = UNSET


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image to import.

    Attributes:
        id: its id; empty where the list does not even give that.
        place: where it stands in its list, for people.
        path: the file to read, inside the list's folder.
        uri: where it is, where it is no file.
        tag: its tag; empty for the default one.
        desc: its description as JSON text.
        bounding_box: the place of the face as JSON text.
        fault: why it cannot be imported.
    """

    id: str
    place: str
    path: Path | None = None
    uri: str | None = None
    tag: str = ""
    desc: Raw | UnsetType = UNSET
    bounding_box: Raw | UnsetType = UNSET
    fault: str = ""


class ImageList(Protocol):
    """Some images, in the same order each time."""

    def __iter__(self) -> Iterator[Candidate]:
        """Each of them, bad ones with their fault."""

    def __len__(self) -> int:
        """How many there are."""


class Folder:
    """The image files in a folder and the folders in it; links, hidden files and what is no image are passed over.

    The id is the path in the folder, the tag the first folder on it.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def __iter__(self) -> Iterator[Candidate]:
        for where, folders, files in os.walk(self._root):  # which does not follow links
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                path = Path(where, name)
                if name.startswith(".") or path.suffix.lower() not in SUFFIXES or not _is_file(path):
                    continue
                relative = path.relative_to(self._root)
                tag = relative.parts[0] if len(relative.parts) > 1 else ""
                if not _is_text(relative.as_posix()):
                    shown = relative.as_posix().encode(errors="replace").decode()
                    yield Candidate(shown, shown, fault="The file's name is not UTF-8: rename it.")
                    continue
                yield Candidate(relative.as_posix(), relative.as_posix(), path, tag=tag)

    def __len__(self) -> int:
        return sum(1 for _ in self)


class CsvFile:
    """A CSV with a header: id, uri or path, tag, desc; paths start at the file's folder.

    Args:
        file: the CSV, in UTF-8.

    Raises:
        OperatorError: its header is not as it must be.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        csv.field_size_limit(_LONGEST_FIELD)
        with file.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as lines:
            try:
                columns = next(csv.reader(lines), [])
            except csv.Error as error:
                raise OperatorError(f"{file} is no CSV in UTF-8: check how it was written.") from error
        if not {"uri", "path"} & set(columns) or set(columns) - _COLUMNS or len(set(columns)) < len(columns):
            message = f"The first line of {file} must name its columns: uri or path, and as needed id, tag and desc."
            raise OperatorError(message)

    def __iter__(self) -> Iterator[Candidate]:
        with self._file.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as lines:
            rows = csv.DictReader(lines, strict=True)
            assert rows.fieldnames is not None, "the first line was looked at"
            while True:
                place = f"line {rows.line_num + 1}"
                try:
                    row = next(rows)
                except StopIteration:
                    return
                except csv.Error:
                    yield Candidate("", place, fault=f"{place} is no CSV: check its quotes.")
                    continue
                yield _candidate(place, self._file.parent, lambda row=row: _of_row(row))  # type: ignore[misc]

    def __len__(self) -> int:
        return sum(1 for _ in self)


class LinesFile:
    """JSON Lines, each one an image as the API takes it, or with ``path``; paths start at the file's folder.

    Args:
        file: the JSON Lines.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def __iter__(self) -> Iterator[Candidate]:
        for number, line in self._lines():
            yield _candidate(f"line {number}", self._file.parent, lambda line=line: _of_line(line))  # type: ignore[misc]

    def __len__(self) -> int:
        return sum(1 for _ in self._lines())

    def _lines(self) -> Iterator[tuple[int, bytes]]:
        """Lines that are not empty, with their numbers; of one that is too long only the beginning."""
        with self._file.open("rb") as lines:
            number = 0
            while line := lines.readline(_LONGEST_FIELD):
                number += 1
                end = line
                while len(end) == _LONGEST_FIELD and not end.endswith(b"\n"):
                    end = lines.readline(_LONGEST_FIELD)
                if line.strip():
                    yield number, line


def image_list(source: Path) -> ImageList:
    """The images of a folder, a ``.csv``, or a ``.jsonl`` (also ``.ndjson``).

    Raises:
        OperatorError: it is none of them.
    """
    if source.is_dir():
        return Folder(source)
    if not source.is_file():
        raise OperatorError(f"There is no folder and no file {source}: name one that has the images.")
    if source.suffix.lower() == ".csv":
        return CsvFile(source)
    if source.suffix.lower() in (".jsonl", ".ndjson"):
        return LinesFile(source)
    raise OperatorError(f"{source} is neither a folder nor a file that ends in .csv, .jsonl or .ndjson.")


def _candidate(place: str, folder: Path, read: Callable[[], ListedImage]) -> Candidate:
    name = ""
    try:
        image = read()
        name = image.id or ""
        return _located(place, folder, image)
    except Fault as fault:
        return Candidate(name, place, fault=f"{place}: {fault}")


def _located(place: str, folder: Path, image: ListedImage) -> Candidate:
    if image.path and image.uri:
        raise Fault("Both uri and path are given: leave one of them out.")
    if not image.path and not image.uri:
        raise Fault("Neither uri nor path is given: say where the image is.")
    path = _inside(folder, image.path) if image.path else None
    if not image.id and (image.uri or "").lower().startswith("data:"):
        raise Fault("id is missing, and a data URI cannot stand for it: name the image.")
    name = image.id or image.path or image.uri or ""
    return Candidate(name, place, path, image.uri or None, image.tag or "", image.desc, image.bounding_box)


def _of_row(row: dict[str | None, str | None]) -> ListedImage:
    if None in row or None in row.values():
        raise Fault("The line has another number of fields than the first one: check its commas and quotes.")
    values = {str(key): value or "" for key, value in row.items()}
    if not all(map(_is_text, values.values())):
        raise Fault("The line is not UTF-8: check how the file was written.")
    desc = values.get("desc", "").strip()
    if desc:
        try:
            msgspec.json.decode(desc)
        except (msgspec.DecodeError, RecursionError) as error:
            raise Fault('desc is no JSON: a text needs quotes of its own, as in """Tom""".') from error
    return ListedImage(
        id=values.get("id"),
        uri=values.get("uri"),
        path=values.get("path"),
        tag=values.get("tag"),
        desc=Raw(desc.encode()) if desc else UNSET,
    )


def _of_line(line: bytes) -> ListedImage:
    try:
        return msgspec.json.decode(line, type=ListedImage)
    except msgspec.ValidationError as error:
        raise Fault(sentence(str(error))) from error
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Fault("The line is no JSON in UTF-8: check its quotes, commas and escapes.") from error


def _inside(folder: Path, text: str) -> Path:
    """The file that a path in a list means, links followed only inside the list's folder."""
    path = Path(os.path.realpath(folder / text)) if "\0" not in text else folder
    if not path.is_relative_to(os.path.realpath(folder)):
        raise Fault("path leads out of the folder of the list: put the image in that folder.")
    if not path.is_file():
        raise Fault("There is no file at path.")
    return path


def _is_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _is_text(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)
