"""Settings: the only reader of the environment; every setting is documented where it is declared."""

from __future__ import annotations

import dataclasses
import ipaddress
import math
import os
import re
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.errors import OperatorError

PREFIX = "LIKENESS_"
_FILE = "_FILE"  # at the end of a setting's name: the file that holds its value
PROJECT = Path(__file__).resolve().parent.parent

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
MIB = 1024 * 1024
_TRITON = r"(dns:)?(\[[0-9A-Fa-f:.]+\]|[^/\s,:\[\]]+):\d{1,5}(/\d{1,5})?"


def setting(default: Any, doc: str, *, least: float | None = None, most: float | None = None, shown: str = "") -> Any:
    """Declares one setting: its default, its sentence of documentation and its bounds.

    Args:
        default: the value when the environment names none.
        doc: what it does, with its unit.
        least: smallest allowed number, inclusive.
        most: largest allowed number, inclusive.
        shown: how the default is written in the documentation where the value itself depends on the machine.
    """
    return dataclasses.field(default=default, metadata={"doc": doc, "least": least, "most": most, "shown": shown})


@dataclass(frozen=True, slots=True)
class Settings:
    """What an operator can set, as ``LIKENESS_<NAME>`` in the environment or in a file named by ``…_FILE``."""

    host: str = setting("127.0.0.1", "Address to listen on.")
    port: int = setting(8000, "TCP port to listen on.", least=1, most=65535)
    workers: int = setting(
        1,
        "Service processes on this machine; more than one needs a Milvus server. Limits of memory, requests and "
        "connections are each one's own.",
        least=1,
        most=64,
    )
    data_dir: Path = setting(Path("data"), "Folder for the embedded database, logs and run-time files.")
    cache_dir: Path = setting(
        Path.home() / ".cache" / "likeness", "Folder for downloaded weights.", shown="~/.cache/likeness"
    )
    model_repository: Path = setting(
        PROJECT / "model_repository", "Triton's model repository.", shown="./model_repository"
    )
    log_level: str = setting("info", "Log level: debug, info, warning or error.")
    log_format: str = setting("human", "Form of the log: human for sentences, json for one JSON object a line.")

    keys: str = setting(
        "auto",
        "Whether callers need a key: required; off, where something in front of the service knows its clients; "
        "or auto, which is off on loopback and required on any other address.",
    )
    keys_file: Path = setting(
        Path(), "File of the keys, for several hosts to share or a secret to be mounted.", shown="./data/keys.json"
    )
    api_key: str = setting("", "Key that commands such as `likeness import` send to the service.")
    api_key_file: Path = setting(Path(), "File that holds this key, where it is not in the environment.", shown="empty")
    key_rate: float = setting(
        0.0, "Requests a second that each key may make of one service process, on average; 0 is no limit.", least=0
    )
    key_requests: int = setting(
        64,
        "Requests of one key at work at the same time in one service process; more is a 429, 0 is no limit.",
        least=0,
    )
    address_rate: float = setting(
        0.0, "As LIKENESS_KEY_RATE, for each address where no keys are asked for; 0 is no limit.", least=0
    )
    address_requests: int = setting(
        0, "As LIKENESS_KEY_REQUESTS, for each address where no keys are asked for; 0 is no limit.", least=0
    )
    rate_burst: int = setting(20, "Requests that may come at once before a rate holds.", least=1)
    cors_origins: tuple[str, ...] = setting(
        (), "Origins (such as https://photos.example.org, comma separated) whose pages may call the API in a browser."
    )
    audit: str = setting("writes", "What the audit log in the data folder records: off, writes or all.")
    audit_max_bytes: int = setting(64 * MIB, "Size at which a new audit log is begun, in bytes.", least=1024)
    audit_files: int = setting(16, "Older audit logs that are kept.", least=1, most=1000)
    max_connections: int = setting(
        1024, "Connections open to one service process at the same time; more are answered 429.", least=1
    )
    address_connections: int = setting(
        0, "Connections from one address at the same time; more are answered 429, 0 is no limit.", least=0
    )
    header_timeout: float = setting(
        10.0, "Seconds that the head of a request may take to arrive, however slowly it does.", least=0.1, most=600
    )

    triton_url: str = setting(
        "",
        "host:port of Triton's gRPC endpoint, or several, separated by commas; dns:host:port stands for a server at "
        "each address of the name; host:port/port adds the port of its HTTP endpoint, to which batches go then; empty "
        "starts the embedded server.",
    )
    triton_python: Path = setting(
        PROJECT / ".venv-triton" / "bin" / "python",
        "Interpreter of the environment that holds the embedded Triton server.",
        shown="./.venv-triton/bin/python",
    )
    triton_metrics_port: int = setting(
        0, "Loopback port on which the embedded Triton shows its metrics; 0 is a free one.", least=0, most=65535
    )
    triton_timeout: float = setting(30.0, "Seconds that one call to Triton may take.", least=0.1, most=600)
    milvus_uri: str = setting("", "URI of a Milvus server, e.g. http://host:19530; empty starts embedded Milvus Lite.")
    milvus_token: str = setting("", "Token (or user:password) for Milvus.")
    milvus_database: str = setting("", "Milvus database; empty is its default one.")
    milvus_prefix: str = setting("likeness", "Prefix of this service's collections: two services on one Milvus differ.")
    milvus_timeout: float = setting(30.0, "Seconds that one call to Milvus may take.", least=0.1, most=600)
    sweep_interval: float = setting(
        30.0,
        "Seconds between two sweeps, which delete images that were kept for the `ttl_seconds` of their group; no "
        "answer shows them in between.",
        least=0.1,
        most=86400,
    )
    locks: str = setting(
        "",
        "What keeps apart the service processes that use one Milvus server: empty is a folder that those of one user "
        "on one machine find by themselves, a path is a folder that they share, and redis://host:6379/0 is a Redis, "
        "for processes on several machines.",
    )

    image_threshold: float = setting(0.3, "Default threshold of image search.", least=0, most=1)
    face_threshold: float = setting(0.45, "Default threshold of face search.", least=0, most=1)
    search_max_images: int = setting(32, "Most images in one search.", least=1, most=1024)
    face_min_size: int = setting(50, "Smallest side, in pixels, of a face that may be added.", least=1, most=10000)
    multi_faces_mode: int = setting(
        1, "Adding an image with several faces: 0 refuses it, 1 stores the largest face.", least=0, most=1
    )

    max_body_bytes: int = setting(64 * MIB, "Largest request body, in bytes.", least=1024)
    max_image_bytes: int = setting(20 * MIB, "Largest encoded image, in bytes.", least=1024)
    max_image_pixels: int = setting(64_000_000, "Largest image, in pixels.", least=1024)
    body_memory: int = setting(
        1024 * MIB, "Bytes that all request bodies together may take, copies included; more is a 429.", least=1024
    )
    decode_memory: int = setting(
        1536 * MIB, "Bytes that all images being decoded together may hold; more wait.", least=MIB
    )
    decode_processes: int = setting(
        0, "Processes that decode images; 0 is one per core, shared out among the workers.", least=0, most=256
    )
    decode_timeout: float = setting(
        20.0, "Seconds that decoding one image may take; one that takes longer is refused.", least=0.1, most=600
    )
    pixel_threads: int = setting(
        0,
        "Threads that cut, turn and scale pixels; 0 is one per core, shared out among the workers.",
        least=0,
        most=256,
    )
    compare_memory: int = setting(
        256 * MIB,
        "Bytes of embeddings that all comparisons and calibrations of groups together may hold; more wait. A group "
        "that is larger is read anew for each part of the other, or calibrated by a sample.",
        least=MIB,
    )
    import_max_bytes: int = setting(
        1024 * MIB,
        "Largest body of an import in the background, in bytes; it is kept in the data folder until the import ends.",
        least=1024,
    )
    restore_max_bytes: int = setting(16384 * MIB, "Largest file of a group that is restored, in bytes.", least=1024)
    transfers: int = setting(
        4,
        "Exports and restores of groups, and bodies in JSON Lines being received, at the same time; more is a 429.",
        least=1,
        most=64,
    )
    imports: int = setting(
        32,
        "Imports in the background that are kept, finished ones included; where none is finished more is a 429.",
        least=1,
        most=1000,
    )
    import_parallel: int = setting(
        4,
        "Images of imports in the background at work at the same time; each request at work takes one away, down to 1.",
        least=1,
        most=64,
    )
    images_at_work: int = setting(64, "Images being decoded or detected together; more wait.", least=1)
    max_requests: int = setting(256, "Inference requests at work at the same time; more is a 429.", least=1)
    request_timeout: float = setting(60.0, "Seconds that one request may take, from its body to its answer.", least=0.1)
    shutdown_timeout: float = setting(5.0, "Seconds that requests at work get to finish at shutdown.", least=0, most=60)

    fetch_timeout: float = setting(10.0, "Seconds that fetching one image may take.", least=0.1, most=600)
    fetch_memory: int = setting(1024 * MIB, "Bytes that all images being fetched may take; more wait.", least=MIB)
    fetch_max_redirects: int = setting(3, "Redirects followed when an image is fetched.", least=0, most=20)
    fetch_first_byte: float = setting(
        5.0, "Seconds until an image's host must have begun its answer, connecting included.", least=0.1, most=600
    )
    fetch_least_speed: int = setting(
        16384, "Bytes a second that an image must come with, over any two seconds; 0 is no limit.", least=0
    )
    fetch_connections: int = setting(64, "Connections open to image hosts at the same time.", least=1)
    fetch_host_connections: int = setting(
        16, "Connections open to one address at the same time, under whatever names it is called.", least=1
    )
    fetch_allow: tuple[str, ...] = setting(
        (),
        "The only hosts that images may be fetched from, comma separated: photos.example.org, *.example.org, networks "
        "such as 203.0.113.0/24, each with a port behind it (:8080, or :* for any) or for 80 and 443; empty is all.",
    )
    fetch_allow_networks: tuple[Network, ...] = setting(
        (),
        "Private networks (CIDR, comma separated) from which images may be fetched; where LIKENESS_FETCH_ALLOW is "
        "set, of the hosts in it.",
    )

    batch_queue: int = setting(1024, "Items that may wait for one model; more is a 429.", least=1)
    batches_in_flight: int = setting(
        0, "Batches at work per model and Triton; 0 is one more than its instances.", least=0, most=64
    )
    traces_url: str = setting(
        "", "OTLP/HTTP endpoint for traces, e.g. http://collector:4318; empty makes none. Needs the extra `tracing`."
    )
    traces_ratio: float = setting(
        1.0, "Share of requests that are traced, where their client has not decided.", least=0, most=1
    )
    embedded_cores: int = setting(0, "Cores that the embedded Triton may use; 0 is all of the machine's.", least=0)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Settings:
        """Reads every ``LIKENESS_*`` variable, and the files that ``LIKENESS_*_FILE`` name.

        Raises:
            OperatorError: an unknown name or a value that does not fit, with a sentence that says which.
        """
        hints = typing.get_type_hints(cls)
        fields = {PREFIX + f.name.upper(): f for f in dataclasses.fields(cls)}
        environ = _with_files(environ, fields)
        unknown = sorted(name for name in environ if name.startswith(PREFIX) and name not in fields)
        # LIKENESS_TEST_* belongs to the tests.
        unknown = [name for name in unknown if not name.startswith(PREFIX + "TEST_")]
        if unknown:
            message = f"Unknown setting {unknown[0]}: run `likeness settings` for those that exist."
            raise OperatorError(message)
        values = {
            field.name: _parse(name, environ[name], hints[field.name], field.metadata)
            for name, field in fields.items()
            if environ.get(name, "") != ""
        }
        settings = cls(**values)
        if settings.log_level not in {"debug", "info", "warning", "error"}:
            message = f"LIKENESS_LOG_LEVEL is {settings.log_level!r}: it must be debug, info, warning or error."
            raise OperatorError(message)
        if settings.log_format not in {"human", "json"}:
            message = f"LIKENESS_LOG_FORMAT is {settings.log_format!r}: it must be human or json."
            raise OperatorError(message)
        for name, value, form, hint in (
            ("KEYS", settings.keys, "auto|required|off", "auto, required or off"),
            ("AUDIT", settings.audit, "off|writes|all", "off, writes or all"),
            *(
                (
                    "CORS_ORIGINS",
                    origin,
                    r"https?://[^/\s*]+",
                    "origins such as https://photos.example.org, without paths",
                )
                for origin in settings.cors_origins
            ),
            (
                "TRITON_URL",
                settings.triton_url,
                rf"{_TRITON}(\s*,\s*{_TRITON})*",
                "host:port of the gRPC endpoint, without http://, or host:port/port with that of the HTTP endpoint, or "
                "several of them, separated by commas",
            ),
            ("TRACES_URL", settings.traces_url, r"https?://[^\s?#@]+", "a URL such as http://collector:4318"),
            *(
                (
                    "FETCH_ALLOW",
                    host,
                    r"([^\s/:\[\]@?#]+(/\d+)?|\[[0-9A-Fa-f:.]+(/\d+)?\])(:(\d{1,5}|\*))?",
                    "hosts such as photos.example.org or *.example.org:8080, or networks such as 203.0.113.0/24, "
                    "without http:// and paths",
                )
                for host in settings.fetch_allow
            ),
            ("MILVUS_URI", settings.milvus_uri, r"(https?|tcp|unix)://?\S+", "a URI such as http://host:19530"),
            ("MILVUS_PREFIX", settings.milvus_prefix, r"[A-Za-z][A-Za-z0-9]{0,31}", "letters, then digits too"),
        ):
            if value and not re.fullmatch(form, value):
                message = f"LIKENESS_{name} is {value!r}: it must be {hint}."
                raise OperatorError(message)
        return settings

    @property
    def keys_path(self) -> Path:
        """The file of the keys."""
        return self.data_dir / "keys.json" if self.keys_file == Path() else self.keys_file

    @property
    def embedded_triton(self) -> bool:
        """Whether the service starts a Triton of its own."""
        return not self.triton_url

    @property
    def embedded_milvus(self) -> bool:
        """Whether the service starts a Milvus Lite of its own."""
        return not self.milvus_uri


@dataclass(frozen=True, slots=True)
class SettingDoc:
    """One row of the settings table."""

    variable: str
    default: str
    doc: str


def documentation() -> list[SettingDoc]:
    """Every setting in the order of declaration, for ``likeness settings`` and the README."""
    rows = []
    for field in dataclasses.fields(Settings):
        default = field.metadata["shown"] or _shown(field.default)
        rows.append(SettingDoc(PREFIX + field.name.upper(), default, field.metadata["doc"]))
    return rows


def _shown(value: Any) -> str:
    if isinstance(value, Path):
        return f"./{value}"
    if value in ("", ()):
        return "empty"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _with_files(environ: Mapping[str, str], names: Collection[str]) -> dict[str, str]:
    """Puts the text of a file in place of each ``LIKENESS_<NAME>_FILE``: whoever lists processes sees no secret so."""
    given = dict(environ)
    for name in names:
        path = given.pop(name + _FILE, "") if name + _FILE not in names else ""
        if not path:
            continue
        if given.get(name):
            raise OperatorError(f"{name} and {name}{_FILE} are both set: keep one of them.")
        try:
            given[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = (getattr(error, "strerror", None) or "it is no text").lower()
            message = f"{name}{_FILE} is {path!r}, which cannot be read ({reason}): name a file with the value in it."
            raise OperatorError(message) from error
    return given


def _parse(name: str, text: str, kind: Any, metadata: Mapping[str, Any]) -> Any:
    if kind is str:
        return text
    if kind is Path:
        return Path(text).expanduser()
    if kind is int or kind is float:
        return _number(name, text, kind, metadata)
    if kind == tuple[str, ...]:
        return tuple(part.strip().rstrip("/") for part in text.split(",") if part.strip())
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError as error:
        message = f"{name} is {text!r}: it must be networks such as 10.0.0.0/8, separated by commas."
        raise OperatorError(message) from error


def _number(name: str, text: str, kind: type[int] | type[float], metadata: Mapping[str, Any]) -> int | float:
    least, most = metadata["least"], metadata["most"]
    bounds = f" of at least {least:g}" if least is not None else ""
    bounds += f" and at most {most:g}" if most is not None else ""
    noun = "a whole number" if kind is int else "a number"
    message = f"{name} is {text!r}: it must be {noun}{bounds}."
    try:
        value = kind(text)
    except ValueError as error:
        raise OperatorError(message) from error
    if not math.isfinite(value) or (least is not None and value < least) or (most is not None and value > most):
        raise OperatorError(message)
    return value
