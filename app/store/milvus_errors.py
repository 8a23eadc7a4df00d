"""What Milvus and its client raise, and what it means: foreign errors become ours here."""

from __future__ import annotations

import logging

import grpc
from pymilvus.exceptions import DataNotMatchException, MilvusException, ParamError

from app.errors import BackendUnavailable, InternalError, LikenessError

UNAVAILABLE = "Milvus, which stores the groups, does not answer; try again in a moment."

_NOT_FOUND = 100
NOT_LOADED = 101
# Milvus's codes for a call that is wrong in itself, so that trying again cannot help
# (https://github.com/milvus-io/milvus/blob/master/pkg/util/merr/errors.go).
_REFUSED = {700, *range(1100, 1200)}
_REFUSED_BY_GRPC = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,
}

# What a call to Milvus can raise: its own errors, gRPC's, gRPC's for a channel that was closed meanwhile, and ours.
FOREIGN = (MilvusException, grpc.RpcError, grpc.aio.UsageError, TimeoutError)

_log = logging.getLogger("likeness.store")


def is_of_missing(error: Exception) -> bool:
    """Whether it says that a collection is not there."""
    return isinstance(error, MilvusException) and error.code == _NOT_FOUND


def status_of(error: grpc.RpcError) -> grpc.StatusCode:
    """Its gRPC status."""
    return error.code()


def code_of(error: BaseException) -> int | None:
    """Milvus's code, where it is an error of Milvus."""
    return error.code if isinstance(error, MilvusException) else None


def is_refusal(error: BaseException) -> bool:
    """Whether Milvus answered, and that the call is wrong in itself."""
    if isinstance(error, grpc.RpcError):
        return status_of(error) in _REFUSED_BY_GRPC
    return code_of(error) in _REFUSED or isinstance(error, ParamError | DataNotMatchException)


def is_answer(error: BaseException) -> bool:
    """Whether it came from Milvus, and not from the want of it."""
    return is_refusal(error) or code_of(error) in {NOT_LOADED, _NOT_FOUND}


def translated(error: Exception) -> LikenessError:
    """The error of ours that stands for one of ``FOREIGN``."""
    if is_refusal(error):
        _log.error("Milvus refused a call: %s", error)
        return InternalError("Milvus refused a call of this service; the service's log says why.")
    _log.warning("Milvus does not answer: %s", error)
    return BackendUnavailable(UNAVAILABLE)
