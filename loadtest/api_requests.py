"""Requests made at random of the API's OpenAPI document: many right, many wrong somewhere, each with a number."""

from __future__ import annotations

import base64
import json
import random
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.pictures import drawing, encoded
from tests.running_service import data_uri

LINES: Final = "application/x-ndjson"
GROUPS: Final = ("fuzz-one", "fuzz-two", "fuzz-three")
_WRONG_NAMES: Final = (
    "multi", "absent", "a", "Ab1", "a" * 33, "ab c", "é" * 5, "..", ".", "a/b", "a\0b", "%", "null", "*", "'; drop",
)  # fmt: skip
IDS: Final = ("one", "photos/two.jpg", "三", 'a "quoted" id', "x" * 4096, "https://example.com/?a=b&c=%20#d")
_WRONG_IDS: Final = ("absent", "\0", "a\x1bb", "y" * 4097, "\ud800", "..", "%00", "＇")
_TAGS: Final = ("", "default", "cats", "ü" * 128)
_WRONG_URIS: Final = (
    "", "photo.jpg", "file:///etc/passwd", "ftp://example.com/", "data:", "data:,x", "data:;base64,",
    "data:;base64,!!!!",     "data:image/png;base64,iVBORw0KGgo=", "http://", "http://127.0.0.1/", "http://[::1]/", "http://169.254.169.254/latest",
    "http://user:word@127.0.0.1/", "http://127.0.0.1:22/", "http://\ud800/", "https://localhost/", "javascript:1", "\0",
)  # fmt: skip
_NUMBERS: Final = (
    0, 1, -1, 2, 5, 100, 10**4, 10**4 + 1, 2**31, 2**53, 2**63, 2**64, -(2**63) - 1, 10**30, 0.5, -0.5, 1.0, 1e-300,
    1e300, float("nan"), float("inf"), 1.5,
)  # fmt: skip
_TEXTS: Final = ("", " ", "a", "\0", "\ud800", "é", "💚" * 9, "0", "-1", "1e9", "null", "a" * 70_000, "\r\n", "١")
_ODD: Final[tuple[Any, ...]] = (None, True, False, [], {}, [[]], [None], {"": None}, {"a": {"b": []}})
_HEADERS: Final = (
    {"X-Request-Timeout": "0.001"}, {"X-Request-Timeout": "nan"}, {"X-Request-Timeout": "-1"},
    {"X-Request-Timeout": "1e9"}, {"Content-Type": "text/plain"}, {"Content-Type": "multipart/form-data; boundary=x"},
    {"Content-Type": "\xff"}, {"Content-Encoding": "gzip"}, {"Accept": "application/openmetrics-text"},
    {"Accept": "text/html;q=0"}, {"X-Request-ID": "a" * 200}, {"X-Request-ID": "a\xe9"},
    {"traceparent": "00-" + "f" * 32 + "-" + "f" * 16 + "-01"}, {"traceparent": "x"}, {"Expect": "100-continue"},
    {"Expect": "x"}, {"Range": "bytes=0-1"}, {"Cookie": "a=b"}, {"If-None-Match": "*"},
    {"X-API-Key": "lk_0123456789_" + "A" * 43}, {"Origin": "https://evil.example"},
)  # fmt: skip


def pictures() -> list[str]:
    """Data URIs of small pictures of some formats, sound and broken."""
    plain = drawing(7, size=(96, 64))
    files = [encoded(plain, kind) for kind in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")]
    files += [encoded(drawing(n, size=(64, 64))) for n in range(3)]
    files += [encoded(plain)[:300], encoded(plain, "PNG")[:60], encoded(plain, "GIF")[:-9], b"GIF89a", b"plain text"]
    return [data_uri(file) for file in files]


@dataclass(frozen=True, slots=True)
class MadeRequest:
    """One request, ready to be sent.

    Attributes:
        route: its template in the document.
        method: of HTTP.
        path: with its query.
        body: bytes, where it has any.
        headers: of the request.
    """

    route: str
    method: str
    path: str
    body: bytes | None
    headers: Mapping[str, str]


@dataclass
class RequestMaker:
    """Makes requests.

    Attributes:
        document: the OpenAPI document.
        uris: of images that may be sent.
        files: of exported groups, to be restored as they are and altered.
        jobs: ids of imports.
        markers: of listings.
        seed: with another one, other requests have the same numbers.
    """

    document: Mapping[str, Any]
    uris: Sequence[str]
    files: list[bytes] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)
    markers: list[str] = field(default_factory=list)
    seed: int = 0

    @property
    def operations(self) -> list[tuple[str, str]]:
        """Every path and method of the document."""
        return [(path, method) for path, methods in self.document["paths"].items() for method in methods]

    def make(self, number: int) -> MadeRequest:
        """The request of a number: every operation has its turn."""
        route, method = self.operations[number % len(self.operations)]
        chance = random.Random(f"{self.seed}:{number}")
        wrong = chance.choice((0.0, 0.0, 0.0, 0.03, 0.1, 0.4))
        operation = self.document["paths"][route][method]
        values = _Values(self, chance, wrong)
        path = re.sub(r"{(\w+)}", lambda found: values.segment(found[1]), route)
        query = [
            (each["name"], str(values.of(each["schema"], each["name"])))
            for each in operation["parameters"]
            if each["in"] == "query" and chance.random() < 0.5
        ]
        if chance.random() < wrong:
            query.append((chance.choice(["limit", "marker", "tag", "x"]), values.text()))
        if query:
            path += "?" + urllib.parse.urlencode(query, errors="surrogatepass")
        headers = {"Content-Type": "application/json"} | (chance.choice(_HEADERS) if chance.random() < wrong else {})
        body = None
        if "requestBody" in operation:
            ((kind, media),) = operation["requestBody"]["content"].items()
            body = values.body(kind, media["schema"])
        return MadeRequest(route, method.upper(), path, body, headers)


class _Values:
    """Values that fit a schema, but for one in so many."""

    def __init__(self, maker: RequestMaker, chance: random.Random, wrong: float) -> None:
        self._maker = maker
        self._chance = chance
        self._wrong = wrong

    def segment(self, name: str) -> str:
        known = {"name": GROUPS, "id": IDS, "job": self._maker.jobs or ["absent"]}[name]
        odd = {"name": _WRONG_NAMES, "id": _WRONG_IDS, "job": _WRONG_IDS}[name]
        text = self._chance.choice(odd if self._is_wrong() else known)
        return urllib.parse.quote(text, safe="", errors="surrogatepass")

    def body(self, kind: str, schema: Mapping[str, Any]) -> bytes:
        if kind == LINES:
            if schema["$ref"].endswith("GroupFileRow") and self._maker.files:
                data = self._chance.choice(self._maker.files)
            else:
                data = b"\n".join(self._json(self.of(schema, "")) for _ in range(self._chance.randrange(4)))
        else:
            data = self._json(self.of(schema, ""))
        return self._broken(data) if self._chance.random() < self._wrong / 3 else data

    def of(self, schema: Mapping[str, Any], name: str) -> Any:
        """A value of a schema; the name of its field tells what it is about."""
        if self._is_wrong():
            return self._odd(name)
        while "$ref" in schema or "anyOf" in schema:
            if "$ref" in schema:
                schema = self._maker.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
            else:
                given = [each for each in schema["anyOf"] if each.get("type") != "null" and each.get("maxItems") != 0]
                schema = self._chance.choice(given if self._chance.random() < 0.9 else schema["anyOf"])
        kinds: dict[str, Callable[[Mapping[str, Any], str], Any]] = {
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
            "boolean": lambda *_: self._chance.random() < 0.5,
            "array": self._array,
            "object": self._object,
            "null": lambda *_: None,
            "": lambda *_: self._chance.choice((*_ODD, "text", 5, 0.1)),
        }
        return kinds[schema.get("type", "")](schema, name)

    def text(self) -> str:
        return self._chance.choice(_TEXTS)

    def _is_wrong(self) -> bool:
        return self._chance.random() < self._wrong

    def _string(self, schema: Mapping[str, Any], name: str) -> str:
        known = self._known(name)
        return known if known is not None else self._chance.choice(schema.get("enum", _TAGS))

    def _array(self, schema: Mapping[str, Any], name: str) -> list[Any]:
        least = schema.get("minItems", 0)
        count = self._chance.randint(least, min(schema.get("maxItems", least + 4), least + 4))
        return [self.of(schema.get("items", {}), name) for _ in range(count)]

    def _object(self, schema: Mapping[str, Any], _: str) -> dict[str, Any]:
        required = schema.get("required", ())
        return {
            key: self.of(each, key)
            for key, each in schema.get("properties", {}).items()
            if key in required or self._chance.random() < 0.5
        }

    def _known(self, name: str) -> str | None:
        pools: dict[str, Sequence[str]] = {
            "uri": self._maker.uris, "images": self._maker.uris, "id": IDS, "ids": IDS, "groups": GROUPS,
            "target_group": GROUPS, "cluster_group": ("", *GROUPS), "marker": ("", *self._maker.markers),
            "identity": ("tag", "{identity}-*", "{identity}", "*{identity}*"),
        }  # fmt: skip
        return self._chance.choice(pools[name]) if name in pools else None

    def _odd(self, name: str) -> Any:
        pools: dict[str, Sequence[str]] = {
            "uri": _WRONG_URIS, "images": _WRONG_URIS, "id": ("", *_WRONG_IDS), "ids": _WRONG_IDS,
            "groups": _WRONG_NAMES,
            "target_group": _WRONG_NAMES, "cluster_group": _WRONG_NAMES,
        }  # fmt: skip
        own = [pools[name]] * 2 if name in pools else []
        return self._chance.choice(self._chance.choice([*own, _NUMBERS, _TEXTS, _ODD]))

    def _integer(self, schema: Mapping[str, Any], _: str) -> int:
        low, high = _bounds(schema)
        return self._chance.choice((low, min(high, low + self._chance.randrange(9)), high))

    def _number(self, schema: Mapping[str, Any], _: str) -> float:
        low, high = _bounds(schema)
        return low + (high - low) * self._chance.choice((0.0, 0.25, self._chance.random(), 1.0))

    @staticmethod
    def _json(value: Any) -> bytes:
        return json.dumps(value).encode()

    def _broken(self, data: bytes) -> bytes:
        at = self._chance.randrange(len(data) + 1)
        return self._chance.choice(
            (
                data[:at],
                data[:at] + self._chance.randbytes(3) + data[at:],
                data[:at] + b"\xff" + data[at + 1 :],
                data + data,
                b"",
                b"\xef\xbb\xbf" + data,
                data.decode("latin-1").encode("utf-16"),
                b"[" * 5000 + data,
                data.replace(b":", b":1e999,", 1),
                base64.b64encode(data),
                b'{"a":1,"a":2}',
                b"\x1f\x8b" + data,
            )
        )


def _bounds(schema: Mapping[str, Any]) -> tuple[int, int]:
    low = schema.get("minimum", schema.get("exclusiveMinimum", -1000))
    return low, schema.get("maximum", schema.get("exclusiveMaximum", low + 1000))
