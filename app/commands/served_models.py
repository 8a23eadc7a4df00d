"""Which embedding models a service with these settings serves."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from google.protobuf import json_format, text_format

from app.catalogue.configs import read_config
from app.catalogue.layout import CONFIG_FILE
from app.catalogue.roles import Role
from app.config import Settings
from app.errors import BackendUnavailable, LikenessError
from app.inference.addresses import expanded
from app.inference.client import TritonClient
from app.inference.models import embedder_spec
from app.services.rows import embedding_space
from app.store.records import EmbeddingSpace, Family

_ROLES = {Family.IMAGE: Role.IMAGE_EMBEDDER, Family.FACE: Role.FACE_EMBEDDER}
_TIMEOUT_S = 5.0


async def served_models(settings: Settings) -> dict[Family, EmbeddingSpace]:
    """The space of each family's embedding model: asked of Triton where one is named, else read from the repository.

    A family is left out where Triton does not answer, or where the model was not built yet.
    """
    served: dict[Family, EmbeddingSpace] = {}
    for family, role in _ROLES.items():
        try:
            if settings.embedded_triton:
                config = _kept(settings.model_repository / role / CONFIG_FILE)
            else:
                config = await _told(settings.triton_url, role)
            served[family] = embedding_space(embedder_spec(role, config))
        except (LikenessError, OSError, ValueError, KeyError):
            continue
    return served


def _kept(path: Path) -> Mapping[str, Any]:
    try:
        config: Mapping[str, Any] = json_format.MessageToDict(read_config(path), preserving_proto_field_name=True)
    except text_format.ParseError as error:
        raise ValueError(path) from error
    return config


async def _told(urls: str, role: Role) -> Mapping[str, Any]:
    """What the first server that answers says."""
    for url in await expanded(urls):
        async with TritonClient(url, timeout=_TIMEOUT_S) as triton:
            with suppress(LikenessError):
                return await triton.config(role, timeout=_TIMEOUT_S)
    message = f"No Triton of {urls} serves the model {role}."
    raise BackendUnavailable(message)
