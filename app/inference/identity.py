"""What makes two servers' models the same one: answers of such servers may be mixed, of others never."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.catalogue.configs import BATCH_PIXELS, CORES, ECHO, GATHER_MS, RUN_VALUES, THREADS

# How fast a model answers, and what is said of its origin, is a server's own affair.
_OWN = {*THREADS, BATCH_PIXELS, CORES, GATHER_MS, RUN_VALUES, "licence", "source"}


@dataclass(frozen=True, slots=True)
class Told:
    """What one server says of one model.

    Attributes:
        config: its configuration, in the JSON form of Triton's ModelConfig.
        identity: the facts in it, by name, that all servers must have in common.
        instances: copies of the model that work side by side on this server.
        echoes: whether each answer tells which call it is to.
    """

    config: Mapping[str, Any]
    identity: tuple[tuple[str, str], ...]
    instances: int
    echoes: bool


def told(config: Mapping[str, Any], versions: Sequence[str]) -> Told:
    """Reads a model's configuration and the versions that the server serves of it."""
    facts = {name: str(value.get("string_value", "")) for name, value in config.get("parameters", {}).items()}
    facts = {name: value for name, value in facts.items() if name not in _OWN}
    facts["version"] = " ".join(sorted(versions))
    facts["max_batch_size"] = str(config.get("max_batch_size", 0))
    for side in ("input", "output"):
        tensors = [[tensor["name"], tensor["data_type"], *tensor.get("dims", [])] for tensor in config.get(side, [])]
        tensors = [tensor for tensor in tensors if tensor[0] != ECHO]
        facts[side] = json.dumps(tensors)
    echoes = any(tensor["name"] == ECHO for tensor in config.get("output", []))
    return Told(config, tuple(sorted(facts.items())), instances(config), echoes)


def instances(config: Mapping[str, Any]) -> int:
    """Copies of a model that work side by side, by its configuration."""
    return max(1, sum(int(group.get("count", 1)) for group in config.get("instance_group", [])))


def difference(theirs: Told, ours: Told) -> str:
    """The first fact in which two differ, the model's name first, as part of a sentence."""
    mine, other = dict(ours.identity), dict(theirs.identity)
    names = sorted(mine.keys() | other.keys(), key=lambda name: (name != "model_id", name != "weights_sha256", name))
    for name in names:
        if mine.get(name) != other.get(name):
            return f"{name} {other.get(name, 'is missing')} instead of {mine.get(name, 'nothing')}"
    return "nothing"
