"""Builds the model repository: fetches the pinned weights, converts them, and skips what is up to date."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.catalogue.download import weights
from app.catalogue.layout import CONFIG_FILES, MANIFEST_FILE, MODEL_FILE, Target
from app.catalogue.models import DEFAULT_MODELS, Model
from app.catalogue.roles import Role
from app.errors import OperatorError

if TYPE_CHECKING:
    import onnx

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a built model was made from, kept beside it.

    Attributes:
        model_sha256: checksum of ``model.onnx``.
        model_id: the catalogue's name of it.
        revision: of the code that wrote it.
        package: requirement of the source package.
        archive_sha256: checksum of that package's archive.
        weights_sha256: checksum of the weights, as the catalogue has it.
    """

    model_sha256: str
    model_id: str
    revision: int
    package: str
    archive_sha256: str
    weights_sha256: str

    @classmethod
    def of(cls, model: Model, model_sha256: str) -> Manifest:
        """The manifest that a build of ``model`` leaves today."""
        source = model.source
        return cls(
            model_sha256,
            model.model_id,
            model.revision,
            f"{source.package}=={source.version}",
            source.archive_sha256,
            model.weights_sha256,
        )


def read_manifest(folder: Path) -> Manifest | None:
    """Reads ``<folder>/1/model.onnx.json``; None where it is missing or of another form."""
    try:
        return Manifest(**json.loads((folder / MANIFEST_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def file_sha256(path: Path) -> str:
    """The checksum of a file.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_built(folder: Path, model: Model) -> bool:
    """Whether the folder holds this model, from today's pins and code, unchanged."""
    try:
        return read_manifest(folder) == Manifest.of(model, file_sha256(folder / MODEL_FILE))
    except OSError:
        return False


def build(
    repository: Path,
    cache: Path,
    *,
    say: Say,
    force: bool = False,
    target: Target = Target.CPU,
    models: Sequence[Model] = DEFAULT_MODELS,
) -> None:
    """Builds every model that is missing or out of date.

    Args:
        repository: the folder that Triton serves, one folder per role in it.
        cache: folder that keeps fetched weight files.
        say: takes one line of progress at a time.
        force: build again what is up to date, and write the configurations anew.
        target: kind of machine to write configurations for; those for a CPU are written in any case.
        models: what to build.

    Raises:
        OperatorError: weights cannot be fetched, or the repository cannot be written.
    """
    for number, model in enumerate(models, 1):
        prefix = f"{model.role}: {number} of {len(models)}, "
        try:
            _write_configs(repository / model.role, model, target, force=force)
            _build_one(repository / model.role, model, cache, say=_Prefixed(prefix, say), force=force)
        except OSError as error:
            raise OperatorError(
                f"{repository / model.role} cannot be written ({error.strerror}): "
                "free space there or give this user the right to write."
            ) from error


@dataclass(frozen=True, slots=True)
class _Prefixed:
    """Says lines with the step that they belong to."""

    prefix: str
    say: Say

    def __call__(self, line: str) -> None:
        self.say(self.prefix + line)


def _write_configs(folder: Path, model: Model, target: Target, *, force: bool) -> None:
    for each in dict.fromkeys((Target.CPU, target)):
        if force or not (folder / CONFIG_FILES[each]).is_file():
            from app.catalogue.configs import write_config  # noqa: PLC0415 - half a second, seldom needed

            write_config(folder, model, each)


def _build_one(folder: Path, model: Model, cache: Path, *, say: Say, force: bool) -> None:
    if not force and is_built(folder, model):
        say(f"{model.model_id} is up to date")
        return
    data = weights(model.source, cache, say=say)
    say(f"converting {model.model_id}")
    started = time.perf_counter()
    content = convert(model, data).SerializeToString()
    (folder / MODEL_FILE).parent.mkdir(parents=True, exist_ok=True)
    _write(folder / MODEL_FILE, content)
    manifest = Manifest.of(model, hashlib.sha256(content).hexdigest())
    _write(folder / MANIFEST_FILE, json.dumps(asdict(manifest), indent=2).encode() + b"\n")
    say(f"{model.model_id} is built ({len(content) / 1e6:.2f} MB, {time.perf_counter() - started:.1f} s)")


def convert(model: Model, data: bytes) -> onnx.ModelProto:
    """Makes a model's graph.

    Args:
        model: one of the default set.
        data: its weight file.

    Raises:
        OperatorError: a file that the project trained is not the pinned one.
        onnx.checker.ValidationError: the graph is wrong; a fault of the builder.
    """
    # Imported here: onnx takes half a second to load, and a build that is up to date needs none of it.
    import onnx  # noqa: PLC0415

    from app.catalogue.centerface import build_detector  # noqa: PLC0415
    from app.catalogue.dlib_file import read_network  # noqa: PLC0415
    from app.catalogue.dlib_resnet import build_face_embedder  # noqa: PLC0415
    from app.catalogue.face_quality import build_face_quality  # noqa: PLC0415
    from app.catalogue.image_descriptor import build_image_embedder  # noqa: PLC0415
    from app.catalogue.projection import read_projection  # noqa: PLC0415
    from app.catalogue.quality_head import read_head  # noqa: PLC0415

    if model.role is Role.FACE_DETECTOR:
        return build_detector(onnx.load_model_from_string(data), model.inputs, model.outputs, about=model.facts)
    if model.role is Role.FACE_EMBEDDER:
        return build_face_embedder(read_network(data), model.inputs, model.outputs, about=model.facts)
    if model.role is Role.FACE_QUALITY:
        head = read_head(model.weights_sha256)
        return build_face_quality(read_network(data), head, model.inputs, model.outputs, about=model.facts)
    projection = read_projection(model.weights_sha256)
    source = onnx.load_model_from_string(data)
    return build_image_embedder(source, projection, model.inputs, model.outputs, about=model.facts)


def _write(path: Path, content: bytes) -> None:
    """Replaces a file in one step: a server that reads meanwhile sees the old or the new one, whole."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.chmod(0o644)
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
