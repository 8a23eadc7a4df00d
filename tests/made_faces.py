"""Faces whose embeddings are made up, for what happens after the models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from app.inference.models import EmbedderSpec
from app.services.query_faces import FaceQuery, QueryFace, QueryFaces, QueryImage
from app.services.rows import Embedded, RowGate, embedding_space
from app.store.groups import GroupStore
from app.store.records import BoundingBox, Family, Record, Row

CALIBRATION = {"kind": "sigmoid", "slope": 10.0, "midpoint": 0.6, "offset": 0.0}
SPEC = EmbedderSpec("faces", 8, 1, 150, 4, "L2", CALIBRATION, ())
SPACE = embedding_space(SPEC)
BOX = BoundingBox(((1, 2), (3, 2), (3, 4), (1, 4)), 0.5)


class MadeFaces(QueryFaces):
    """Reads the embeddings of an image's faces from its URI, which is a JSON list of them."""

    def __init__(self, store: GroupStore) -> None:
        self._gate = RowGate(store, Family.FACE)

    async def spec(self) -> EmbedderSpec:
        return await made_spec()

    async def of_images(self, query: FaceQuery) -> list[list[QueryFace]]:
        return [
            [QueryFace(BOX, Embedded(np.array(face, np.float32), SPEC)) for face in json.loads(image.uri)]
            for image in query.images
        ]


async def made_spec() -> EmbedderSpec:
    return SPEC


def query(*uris: str) -> FaceQuery:
    """A search with these images."""
    return FaceQuery([QueryImage(uri) for uri in uris])


def image_of(*faces: Sequence[float]) -> str:
    """The URI of an image with these faces, four numbers each."""
    return json.dumps(faces)


def face_record(name: str, at: Any, *, tag: str = "default") -> Record:
    return Record(Row(name, tag, json.dumps({"of": name}), BOX), np.array(at, np.float32))


async def face_group(store: GroupStore, name: str, **faces: Sequence[float]) -> str:
    """A group of faces, four numbers each."""
    await store.create(Family.FACE, name, capacity=100, space=SPACE)
    for row, at in faces.items():
        await store.add(Family.FACE, name, face_record(row, at))
    return name
