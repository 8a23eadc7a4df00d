"""What searches for faces found, between the use cases' shapes and the API's."""

from __future__ import annotations

from collections.abc import Sequence

from app.api import face_schemas, schemas
from app.api.rows import bounding_box, raw
from app.services.face_pipeline import FaceQuality
from app.services.face_search import FaceHits
from app.services.multi_search import FaceGroupHits, GroupHit
from app.services.rows import ScoredRow


def face_results(images: Sequence[Sequence[FaceHits]]) -> face_schemas.FaceSearchResults:
    """The answer to a search of one group."""
    return face_schemas.FaceSearchResults(
        [face_schemas.FaceResults([_searched(face) for face in faces]) for faces in images]
    )


def group_face_results(images: Sequence[Sequence[FaceGroupHits]]) -> face_schemas.GroupFaceSearchResults:
    """The answer to a search of several groups."""
    return face_schemas.GroupFaceSearchResults(
        [face_schemas.GroupFaceResults([_searched_in_groups(face) for face in faces]) for faces in images]
    )


def face_hit(hit: ScoredRow) -> face_schemas.FaceHit:
    """One hit."""
    return face_schemas.FaceHit(
        hit.score, hit.row.id, hit.row.tag, raw(hit.row.desc), bounding_box(hit.row.bounding_box)
    )


def face_quality(face: FaceQuality) -> schemas.FaceQuality:
    """What a face is worth."""
    return schemas.FaceQuality(face.quality, face.orientation)


def _searched(face: FaceHits) -> face_schemas.SearchedFace:
    return face_schemas.SearchedFace(bounding_box(face.bounding_box), [face_hit(hit) for hit in face.hits])


def _searched_in_groups(face: FaceGroupHits) -> face_schemas.GroupSearchedFace:
    return face_schemas.GroupSearchedFace(bounding_box(face.bounding_box), [_group_hit(hit) for hit in face.hits])


def _group_hit(hit: GroupHit) -> face_schemas.GroupFaceHit:
    row = hit.found.row
    return face_schemas.GroupFaceHit(
        hit.found.score, row.id, row.tag, raw(row.desc), bounding_box(row.bounding_box), hit.group
    )
