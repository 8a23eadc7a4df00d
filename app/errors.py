"""The whole error tree: what can go wrong, its HTTP status and its machine code.

Each message is a sentence that a client can act on. Nothing here may carry a traceback, a path or a
backend's raw message: causes travel in ``__cause__`` and go to the log only.
"""

from __future__ import annotations

import errno
import math
from enum import StrEnum
from typing import Any, ClassVar


class Limit(StrEnum):
    """What can be full, for operators."""

    REQUESTS = "requests"
    MODEL_QUEUE = "model_queue"
    BODIES = "bodies"
    LINE_BODIES = "line_bodies"
    TRANSFERS = "transfers"
    IMPORTS = "imports"
    CALLER = "caller"
    OTHER = "other"


class LikenessError(Exception):
    """Base of every error that reaches a client.

    Args:
        message: a sentence that says what is wrong and what to do; None where the class has the one that always fits.
        index: position of the list item to blame, where the request has a list.
        extra: further fields of the error body (for example ``face_quality``).
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    sentence: ClassVar[str] = "The service failed in a way it should not: its log has the details."
    retry_after: int | None = None  # seconds after which it is worth to try again, where that is known

    def __init__(
        self, message: str | None = None, *, index: int | None = None, extra: dict[str, Any] | None = None
    ) -> None:
        self.message = message or self.sentence
        super().__init__(self.message)
        self.index = index
        self.extra = extra or {}


class InternalError(LikenessError):
    """An unexpected failure of the service itself."""


# --- 400: the request is wrong -----------------------------------------------------------------


class InvalidRequest(LikenessError):
    """A field is missing, of the wrong type or out of range."""

    status = 400
    code = "invalid_request"


class InvalidJson(InvalidRequest):
    """The body is not JSON."""

    code = "invalid_json"


class UnsupportedUri(InvalidRequest):
    """An image URI that is neither http, https nor a base64 data URI."""

    code = "unsupported_uri"


class BlockedAddress(InvalidRequest):
    """An image URL whose host lies in a network that the service must not call."""

    code = "blocked_address"


class InvalidGroupName(InvalidRequest):
    """A group name that breaks the naming rule or is reserved."""

    code = "invalid_group_name"


class InvalidId(InvalidRequest):
    """An image id that is too long or holds control characters."""

    code = "invalid_id"


class InvalidMarker(InvalidRequest):
    """A paging marker that this service did not make."""

    code = "invalid_marker"


class InvalidBoundingBox(InvalidRequest):
    """A box that is no quadrilateral around a part of the image."""

    code = "invalid_bounding_box"


class NoFace(InvalidRequest):
    """No face large enough was found in an image to be stored."""

    code = "no_face"


class MultipleFaces(InvalidRequest):
    """More than one face where the settings allow one only."""

    code = "multiple_faces"


class BadFace(InvalidRequest):
    """A face whose quality or orientation is not good enough where the client wants good ones only."""

    code = "bad_face"


class DamagedFile(InvalidRequest):
    """A file that is none of an exported group, or is cut or altered."""

    code = "damaged_file"


class NotCalibratable(InvalidRequest):
    """A group without pairs of the same identity, or without pairs of different ones."""

    code = "not_calibratable"


# --- 401, 403: who may do what -------------------------------------------------------------------


class Unauthorized(LikenessError):
    """No key came with the request, or none that is valid.

    Args:
        message: a sentence that says what to do.
        given: whether there was a key at all.
    """

    status = 401
    code = "unauthorized"
    sentence = "This service asks for a key: send it as `Authorization: Bearer <key>` or as `X-API-Key: <key>`."

    def __init__(self, message: str | None = None, *, given: bool = False) -> None:
        super().__init__(message)
        self.challenge = 'Bearer realm="likeness"' + (', error="invalid_token"' if given else "")


class Forbidden(LikenessError):
    """The key is valid, but not for this: for want of a role, or of a pattern that the group fits."""

    status = 403
    code = "forbidden"


class ForeignPage(LikenessError):
    """A page of another site had a browser send this."""

    status = 403
    code = "foreign_page"


# --- 404, 405, 408, 409 --------------------------------------------------------------------------


class RouteNotFound(LikenessError):
    """No such path."""

    status = 404
    code = "not_found"
    sentence = "There is nothing at this path: /docs shows what there is."


class GroupNotFound(LikenessError):
    """No group of that name."""

    status = 404
    code = "group_not_found"


class ImageNotFound(LikenessError):
    """No row of that id in the group."""

    status = 404
    code = "image_not_found"
    sentence = "No image of this id is in the group: add it first."


class JobNotFound(LikenessError):
    """No import of that id."""

    status = 404
    code = "job_not_found"
    sentence = "There is no import of this id: it never was, or it ended so long ago that it was forgotten."


class MethodNotAllowed(LikenessError):
    """The path exists, but not for this method."""

    status = 405
    code = "method_not_allowed"
    sentence = "This path does not take this method: /docs shows which it takes."


class RequestTimeout(LikenessError):
    """The client stopped sending in the middle of its request."""

    status = 408
    code = "request_timeout"
    sentence = "The request took too long to arrive: send it again."


class GroupExists(LikenessError):
    """A group of that name is already there."""

    status = 409
    code = "group_exists"


class IdExists(LikenessError):
    """A row of that id is already in the group."""

    status = 409
    code = "id_exists"
    sentence = "An image of this id is already in the group: update it, or choose another id."


class ModelMismatch(LikenessError):
    """The group was filled by another embedding model than the one served now."""

    status = 409
    code = "model_mismatch"


# --- 413, 415, 429, 499 -----------------------------------------------------------------------------


class TooLarge(LikenessError):
    """A head, a body, a file or an image over its limit."""

    status = 413
    code = "too_large"


class UndecodableImage(LikenessError):
    """Bytes that are no image of a supported format, or a damaged one."""

    status = 415
    code = "undecodable_image"


class Overloaded(LikenessError):
    """A queue or a budget is full: try again after ``retry_after`` seconds."""

    status = 429
    code = "overloaded"
    retry_after = 1

    def __init__(self, message: str | None = None, *, limit: Limit = Limit.OTHER) -> None:
        super().__init__(message)
        self.limit = limit


class RateLimited(Overloaded):
    """The caller asks more often, or more at once, than it may.

    Args:
        message: a sentence that says what to do.
        wait_s: seconds after which there is room again.
    """

    code = "rate_limited"

    def __init__(self, message: str | None = None, *, wait_s: float = 1.0) -> None:
        super().__init__(message, limit=Limit.CALLER)
        self.retry_after = max(1, math.ceil(wait_s))


class ClientGone(LikenessError):
    """The client hung up before its answer: nobody reads this, but the log counts it for what it is."""

    status = 499
    code = "client_closed_request"
    sentence = "The request was given up."


# --- 5xx: a part that the request needs --------------------------------------------------------


class FetchFailed(LikenessError):
    """The image's host answered badly or not at all."""

    status = 502
    code = "fetch_failed"


class BackendUnavailable(LikenessError):
    """Triton or Milvus does not answer."""

    status = 503
    code = "backend_unavailable"
    retry_after = 1


class OutOfResources(BackendUnavailable):
    """The service's machine has no room on a disk, or no file descriptors left; nothing was done."""

    code = "out_of_resources"
    sentence = "The service's machine has no room on its disk, or no more open files: its log has the details."
    retry_after = 5


class Closing(LikenessError):
    """The service is shutting down."""

    status = 503
    code = "shutting_down"
    retry_after = 1
    sentence = "The service is shutting down: try again in a moment."


class FetchTimeout(LikenessError):
    """The image's host took too long."""

    status = 504
    code = "fetch_timeout"


class DeadlineExceeded(LikenessError):
    """The request took longer than its time limit."""

    status = 504
    code = "deadline_exceeded"


_OUT = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EROFS, errno.EIO}


def is_out_of_resources(error: OSError) -> bool:
    """Whether the machine is to blame, and what was tried may succeed once somebody made room."""
    return error.errno in _OUT


# --- not HTTP: what an operator reads on the terminal --------------------------------------------


class OperatorError(Exception):
    """A start or a command that cannot go on: one sentence that says what to do."""
