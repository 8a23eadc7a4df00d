"""Compares a model repository with the catalogue, and lists what is in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

import onnx
from google.protobuf import text_format
from google.protobuf.message import DecodeError

from app.catalogue.build import Manifest, file_sha256, read_manifest
from app.catalogue.configs import model_config, read_config
from app.catalogue.graph import ELEMENT_TYPES
from app.catalogue.layout import CONFIG_FILES, MODEL_FILE, Target
from app.catalogue.models import DEFAULT_MODELS, Model
from app.catalogue.roles import ANY, CONTRACTS, Datatype, Role, Tensor

REMEDY: Final = "run `likeness models build --force`"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong with a model.

    Attributes:
        role: whose model.
        sentence: what is wrong and what to do.
        fatal: whether the model cannot be served like this; otherwise the operator may have meant it.
    """

    role: Role
    sentence: str
    fatal: bool


class State(StrEnum):
    """What there is of a model."""

    BUILT = "built"
    OUTDATED = "outdated"
    CHANGED = "changed"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the list of models; ``size`` is in bytes, 0 where there is no file."""

    role: Role
    model_id: str
    source: str
    licence: str
    size: int
    state: State


def verify(repository: Path, models: Sequence[Model] = DEFAULT_MODELS, target: Target = Target.CPU) -> list[Finding]:
    """Everything in which the repository differs from the catalogue; empty where nothing does.

    Configurations are those of the target, and of any other that there are some of.
    """
    findings: list[Finding] = []
    for model in models:
        folder = repository / model.role
        for each in Target:
            if each in (Target.CPU, target) or (folder / CONFIG_FILES[each]).exists():
                faults = _config_faults(folder, model, each)
                findings += [Finding(model.role, fault, fatal=fatal) for fatal, fault in faults]
        findings += [Finding(model.role, fault, fatal=True) for fault in _file_faults(folder, model)]
    return findings


def listing(repository: Path, models: Sequence[Model] = DEFAULT_MODELS) -> list[Row]:
    """One row for each role, in the order in which a request meets them."""
    rows: list[Row] = []
    for model in models:
        path = repository / model.role / MODEL_FILE
        size = path.stat().st_size if path.is_file() else 0
        state = _state(repository / model.role, model)
        rows.append(Row(model.role, model.model_id, model.origin, model.licence, size, state))
    return rows


def _state(folder: Path, model: Model) -> State:
    try:
        checksum = file_sha256(folder / MODEL_FILE)
    except OSError:
        return State.MISSING
    manifest = read_manifest(folder)
    if manifest == Manifest.of(model, checksum):
        return State.BUILT
    return State.OUTDATED if manifest is not None and manifest.model_sha256 == checksum else State.CHANGED


def _file_faults(folder: Path, model: Model) -> Iterator[str]:
    state = _state(folder, model)
    if state is State.MISSING:
        yield f"{model.role} has no model file: run `likeness models build`."
        return
    if state is State.OUTDATED:
        yield f"{model.role} was built from older pins or code: run `likeness models build`."
    if state is State.CHANGED:
        yield f"{model.role}'s model file is not the one that was built (its checksum differs): {REMEDY}."
    yield from _tensor_faults(folder / MODEL_FILE, model)


def _config_faults(folder: Path, model: Model, target: Target) -> Iterator[tuple[bool, str]]:
    """Whether the model cannot be served like this, and the sentence."""
    file = CONFIG_FILES[target]
    remedy = REMEDY if target is Target.CPU else f"run `likeness models build --force --target {target}`"
    try:
        config = read_config(folder / file)
    except OSError:
        yield True, f"{model.role} has no {file}: {remedy}."
    except (text_format.ParseError, UnicodeDecodeError):
        yield True, f"{model.role}'s {file} cannot be read as a model configuration: {remedy}."
    else:
        if config != model_config(model, target):
            yield False, f"{model.role}'s {file} differs from the catalogue: {remedy}, or keep it if meant."


def _tensor_faults(path: Path, model: Model) -> Iterator[str]:
    try:
        graph = onnx.load(path).graph
    except (DecodeError, OSError):
        yield f"{model.role}'s model file is no ONNX model: {REMEDY}."
        return
    found = tuple(_tensor(value) for value in (*graph.input, *graph.output))
    contract = CONTRACTS[model.role]
    promised = (*contract.inputs, *contract.outputs)
    kept = len(found) == len(promised) and all(
        theirs is not None and mine.admits(theirs) for mine, theirs in zip(promised, found, strict=True)
    )
    if not kept:
        yield f"{model.role}'s model file has other tensors than the role promises: {REMEDY}."


def _tensor(value: onnx.ValueInfoProto) -> Tensor | None:
    """The tensor as the contract would write it; None for an element type that no role uses."""
    kind = value.type.tensor_type
    names: dict[int, Datatype] = {number: datatype for datatype, number in ELEMENT_TYPES.items()}
    if kind.elem_type not in names:
        return None
    dims = tuple(dim.dim_value or ANY for dim in kind.shape.dim)
    return Tensor(value.name, names[kind.elem_type], dims[1:])
