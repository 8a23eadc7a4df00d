"""Turns bodies, paths and query strings into checked values, and what is wrong with them into sentences."""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from app.api import schemas
from app.api.sentences import sentence
from app.errors import InvalidGroupName, InvalidId, InvalidJson, InvalidMarker, InvalidRequest
from app.services.rows import DEFAULT_TAG, NO_DESC, Terms

GROUP_NAME = re.compile(r"[a-z][a-z0-9_-]{2,31}")
_RESERVED_FACE_GROUP = "multi"  # it would collide with the path /groups/multi/search
_MAX_ID_BYTES = 4096
_MAX_TAG_BYTES = 256
_MAX_DESC_BYTES = 64 * 1024
_MAX_RAW_DESC_BYTES = 1024 * 1024
# Far under what parsers take, so that whoever is sent a description can read it.
_MAX_DESC_DEPTH = 500
_MAX_PAGE = 1000
_MAX_GROUPS = 5
_MAX_TAGS = 100
_DEFAULT_SEARCH_LIMIT = 100
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_INDEX = re.compile(r"\[(\d+)\]")
_TEXT_OR_BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]')


StructT = TypeVar("StructT", bound=msgspec.Struct)
Tags = list[str] | None


def parse_body(body: bytes, kind: type[StructT]) -> StructT:
    """Parses and validates a JSON body.

    Raises:
        InvalidJson: it is no JSON.
        InvalidRequest: a field is missing, of the wrong type or out of range; the sentence names it.
    """
    if not body.strip():
        message = "The request needs a JSON body, and it is empty."
        raise InvalidJson(message)
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        index = _INDEX.search(str(error))
        raise InvalidRequest(sentence(str(error)), index=int(index[1]) if index else None) from error
    except RecursionError as error:
        message = "The body is nested too deeply: flatten it."
        raise InvalidJson(message) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        message = "The body is not valid JSON in UTF-8: check its quotes, commas and escapes."
        raise InvalidJson(message) from error


def group_name(name: str, *, faces: bool, index: int | None = None) -> str:
    """Checks a group's name.

    Raises:
        InvalidGroupName: it breaks the rule or is reserved.
    """
    if not GROUP_NAME.fullmatch(name):
        message = (
            "A group name has 3 to 32 characters: a lower-case letter first, then lower-case letters, digits, "
            "underscores or hyphens."
        )
        raise InvalidGroupName(message, index=index)
    if faces and name == _RESERVED_FACE_GROUP:
        message = "The group name `multi` is reserved for searching several groups: choose another one."
        raise InvalidGroupName(message, index=index)
    return name


def is_possible_id(value: str) -> bool:
    """Whether an image can have this id at all."""
    return 0 < len(value.encode()) <= _MAX_ID_BYTES and not _CONTROL.search(value)


def searched_groups(names: list[str]) -> list[str]:
    """The groups of a search in several, each once.

    Raises:
        InvalidRequest: none, or too many.
        InvalidGroupName: one breaks the rule or is reserved.
    """
    groups = list(dict.fromkeys(names))
    if not 1 <= len(groups) <= _MAX_GROUPS:
        message = f"groups names {len(groups)} groups: name 1 to {_MAX_GROUPS}."
        raise InvalidRequest(message)
    for index, name in enumerate(names):
        group_name(name, faces=True, index=index)
    return groups


def target_group(name: str) -> str:
    """The group whose faces are looked for in another.

    Raises:
        InvalidRequest: it is empty.
        InvalidGroupName: it breaks the rule or is reserved.
    """
    if not name:
        message = "target_group is missing: name the group whose faces are to be found."
        raise InvalidRequest(message)
    return group_name(name, faces=True)


def cluster_group(name: str | None, groups: list[str]) -> str | None:
    """The group that takes the faces which nobody knows; an empty or missing one is none.

    Raises:
        InvalidRequest: it is among the searched groups.
        InvalidGroupName: it breaks the rule or is reserved.
    """
    if not name:
        return None
    if name in groups:
        message = f"cluster_group {name!r} is also in groups, and it is searched with them anyway: name it only once."
        raise InvalidRequest(message)
    return group_name(name, faces=True)


def image_id(value: str | None, *, field: str = "image.id") -> str:
    """Checks an id; a missing one becomes empty.

    Raises:
        InvalidId: it is too long or holds control characters.
    """
    value = value or ""
    if len(value.encode()) > _MAX_ID_BYTES:
        message = f"{field} is longer than {_MAX_ID_BYTES} bytes in UTF-8: shorten it."
        raise InvalidId(message)
    if _CONTROL.search(value):
        message = f"{field} holds a control character: only tab, line feed and carriage return are allowed."
        raise InvalidId(message)
    return value


def required_id(value: str | None) -> str:
    """Checks an id that must be given.

    Raises:
        InvalidRequest: it is missing or empty.
        InvalidId: it is too long or holds control characters.
    """
    if not value:
        message = "image.id is missing: name the image to update."
        raise InvalidRequest(message)
    return image_id(value)


def tag(value: str | None, *, field: str = "image.tag") -> str:
    """Checks a tag; a missing or empty one becomes ``default``.

    Raises:
        InvalidRequest: it is too long or holds control characters.
    """
    value = value or DEFAULT_TAG
    if len(value.encode()) > _MAX_TAG_BYTES:
        message = f"{field} is longer than {_MAX_TAG_BYTES} bytes in UTF-8: shorten it."
        raise InvalidRequest(message)
    if _CONTROL.search(value):
        message = f"{field} holds a control character: only tab, line feed and carriage return are allowed."
        raise InvalidRequest(message)
    return value


def desc(value: Raw | UnsetType) -> str:
    """A description as compact JSON text; missing or null is an empty object.

    Raises:
        InvalidRequest: it is longer than 64 KiB, or nested too deeply.
        InvalidJson: it is not UTF-8.
    """
    if value is UNSET:
        return NO_DESC
    if len(bytes(value)) > _MAX_RAW_DESC_BYTES:
        message = f"image.desc is larger than {_MAX_RAW_DESC_BYTES} bytes even with its white space: shorten it."
        raise InvalidRequest(message)
    compact = msgspec.json.format(bytes(value), indent=-1)
    if len(compact) > _MAX_DESC_BYTES:
        message = f"image.desc is {len(compact)} bytes of JSON, at most {_MAX_DESC_BYTES} are kept: shorten it."
        raise InvalidRequest(message)
    if _depth(compact) > _MAX_DESC_DEPTH:
        message = f"image.desc is nested more than {_MAX_DESC_DEPTH} deep: flatten it."
        raise InvalidRequest(message)
    try:
        text = compact.decode()
    except UnicodeDecodeError as error:
        message = "The body is not valid JSON in UTF-8: check its quotes, commas and escapes."
        raise InvalidJson(message) from error
    return NO_DESC if text == "null" else text


def _depth(json: bytes) -> int:
    """How deeply arrays and objects are nested, at most as deep as there are opening brackets."""
    deepest = json.count(b"[") + json.count(b"{")
    if deepest <= _MAX_DESC_DEPTH:
        return deepest
    depth = deepest = 0
    for found in _TEXT_OR_BRACKET.finditer(json):
        depth += {b"[": 1, b"{": 1, b"]": -1, b"}": -1}.get(found[0], 0)
        deepest = max(deepest, depth)
    return deepest


def images(uris: list[str], *, most: int) -> list[str]:
    """Checks the number of images of a search.

    Raises:
        InvalidRequest: none, or too many.
    """
    if not 1 <= len(uris) <= most:
        message = f"images has {len(uris)} entries: send 1 to {most}."
        raise InvalidRequest(message)
    return uris


def two_images(uris: list[str]) -> tuple[str, str]:
    """The two images to compare.

    Raises:
        InvalidRequest: it is another number of images.
    """
    if len(uris) != 2:
        message = f"images has {len(uris)} entries: send the 2 that are to be compared."
        raise InvalidRequest(message)
    return uris[0], uris[1]


def score_terms(body: schemas.ScoreTerms, *, default_threshold: float) -> Terms:
    """What counts as a hit; the numbers' ranges were checked with the body."""
    return Terms(
        threshold=default_threshold if body.threshold is None else body.threshold,
        limit=body.limit or _DEFAULT_SEARCH_LIMIT,
    )


def terms(
    body: schemas.SearchTerms, *, default_threshold: float, tag_beside: str | None = None, tags_beside: Tags = None
) -> Terms:
    """What a search is to find.

    Args:
        body: its terms.
        default_threshold: of searches that name none.
        tag_beside: a tag that the request names beside its terms.
        tags_beside: tags, likewise.

    Raises:
        InvalidRequest: a tag is empty in the list, too long or holds control characters; too many tags.
    """
    wanted = [tag(value, field="tag") for value in (body.tag, tag_beside) if value]
    for values in (body.tags, tags_beside):
        for index, value in enumerate(values or ()):
            if not value:
                message = f"tags[{index}] is empty: name a tag, or leave it out."
                raise InvalidRequest(message, index=index)
            wanted.append(tag(value, field=f"tags[{index}]"))
    if len(wanted) > _MAX_TAGS:
        message = f"{len(wanted)} tags are named: at most {_MAX_TAGS} can be searched at once."
        raise InvalidRequest(message)
    return replace(score_terms(body, default_threshold=default_threshold), tags=tuple(dict.fromkeys(wanted)))


def some(values: list[str], *, field: str) -> list[str]:
    """Checks that a list is not empty: an empty one means "not given".

    Raises:
        InvalidRequest: it is empty.
    """
    if not values:
        message = f"{field} is empty: name at least one."
        raise InvalidRequest(message)
    return values


def flag(query: Mapping[str, str], name: str) -> bool:
    """A query parameter that is true or false; a missing one is false.

    Raises:
        InvalidRequest: it is something else.
    """
    text = query.get(name, "")
    if text not in ("", "true", "false"):
        message = f"{name} must be true or false."
        raise InvalidRequest(message)
    return text == "true"


def page_limit(query: Mapping[str, str]) -> int:
    """The page size of a listing; missing or 0 is 1000.

    Raises:
        InvalidRequest: it is no whole number from 0 to 1000.
    """
    text = query.get("limit", "")
    if re.fullmatch(r"[0-9]{1,9}", text or "0") and int(text or 0) <= _MAX_PAGE:
        return int(text or 0) or _MAX_PAGE
    message = f"limit must be a whole number from 1 to {_MAX_PAGE}."
    raise InvalidRequest(message)


def make_marker(after: str | None) -> str:
    """The opaque marker of the page that follows the key ``after``; empty when there is none.

    A checksum goes in front, so that a marker that was cut or altered is told from a real one.
    """
    if after is None:
        return ""
    key = after.encode()
    return base64.urlsafe_b64encode(zlib.crc32(key).to_bytes(4, "big") + key).decode().rstrip("=")


def read_marker(query: Mapping[str, str]) -> str | None:
    """The key after which a page starts; none for the first page.

    Raises:
        InvalidMarker: this service did not make it.
    """
    text = query.get("marker", "")
    if not text:
        return None
    if not re.fullmatch(r"[A-Za-z0-9_-]+", text):
        raise _invalid_marker()
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        key = data[4:].decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise _invalid_marker() from error
    if zlib.crc32(data[4:]).to_bytes(4, "big") != data[:4] or _CONTROL.search(key):
        raise _invalid_marker()
    return key


def _invalid_marker() -> InvalidMarker:
    return InvalidMarker("marker was not made by this service: start again without one.")


def query_of(arguments: Mapping[str, Any]) -> dict[str, str]:
    """The first value of each query parameter."""
    return {name: str(values[0]) for name, values in arguments.items() if values}
