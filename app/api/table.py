"""Every operation of the API, in the order of the documentation."""

from __future__ import annotations

from app.api.boxed_faces import boxed_face_operations
from app.api.calibrate import calibrate_operations
from app.api.compare import compare_operations
from app.api.face_checks import face_check_operations
from app.api.faces import face_operations
from app.api.groups import group_operations
from app.api.health import health_operations
from app.api.held import held_operations
from app.api.images import image_operations
from app.api.jobs import import_operations, job_operations
from app.api.metrics import metrics_operations
from app.api.multi_faces import multi_face_operations
from app.api.operations import Operation
from app.api.portability import portability_operations
from app.store.records import Family


def all_operations() -> list[Operation]:
    """All of them."""
    return [
        *group_operations(Family.IMAGE),
        *image_operations(),
        *calibrate_operations(Family.IMAGE),
        *portability_operations(Family.IMAGE),
        *import_operations(Family.IMAGE),
        *group_operations(Family.FACE),
        *face_operations(),
        *multi_face_operations(),
        *boxed_face_operations(),
        *compare_operations(),
        *face_check_operations(),
        *calibrate_operations(Family.FACE),
        *portability_operations(Family.FACE),
        *import_operations(Family.FACE),
        *job_operations(),
        *held_operations(),
        *health_operations(),
        *metrics_operations(),
    ]
