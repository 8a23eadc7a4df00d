"""Lets callers in: whose key it is, what that key may do and where, and how often."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sanic import Request, Sanic

from app.access.caller import ANYBODY, Caller
from app.access.exposure import keys_are_asked_for
from app.access.key import KeyRole
from app.access.key_file import KeyFile
from app.access.key_ring import KeyRing
from app.access.key_uses import USES_FOLDER, KeyUses
from app.access.rates import Buckets, CallerLimits
from app.api.operations import Operation
from app.config import Settings
from app.errors import Forbidden, RateLimited, Unauthorized

# The documentation tells nothing that the published source does not.
OPEN_ROUTES = frozenset({"front", "openapi", "docs", "docs_asset"})
# Wrong keys from one address that are answered as such: further ones are a 429, and are not recorded.
_WRONG_BURST = 20
_WRONG_RATE = 1.0


class Gate:
    """Stands in front of every operation.

    Args:
        settings: whether keys are asked for, where they are, and the limits.
    """

    def __init__(self, settings: Settings) -> None:
        self._ring: KeyRing | None = None
        if keys_are_asked_for(settings):
            self._ring = KeyRing(KeyFile(settings.keys_path), KeyUses(settings.data_dir / USES_FOLDER))
        self._limits = CallerLimits(settings)
        self._wrong = Buckets()

    def guard(self, app: Sanic[Any, Any], operations: Sequence[Operation]) -> None:
        """Closes every route that is neither an operation nor open: what it shows may be of all groups together."""
        known = OPEN_ROUTES | {operation.id for operation in operations}

        async def check(request: Request) -> None:
            route = request.route
            if route is not None and str(route.name).rpartition(".")[2] not in known:
                _check_all_groups(self.caller(request))

        app.register_middleware(check, "request")

    @contextmanager
    def entered(self, request: Request, operation: Operation, path: Mapping[str, str]) -> Iterator[Caller]:
        """Yields who asks, and counts the request as theirs inside the block. Nothing of the body was read by then.

        Raises:
            Unauthorized: a key is asked for, and none that is valid came.
            Forbidden: the key is not for this operation, or not for this group, be it there or not.
            RateLimited: the caller asks too often or too much at once.
            BackendUnavailable: the keys cannot be read.
        """
        if operation.role is None:
            yield ANYBODY
            return
        caller = self.caller(request)
        request.ctx.caller = caller
        with self._limits.turn(caller):
            _check_role(caller, operation.role)
            if operation.all_groups:
                _check_all_groups(caller)
            if operation.family and "name" in path:
                _check_group(caller, operation.family, path["name"])
            yield caller

    def caller(self, request: Request) -> Caller:
        """Who asks. Raises as ``entered``."""
        address = request.ip or ""
        if self._ring is None:
            return Caller(address)
        try:
            return Caller(address, self._ring.owner(_sent_key(request)))
        except Unauthorized as error:
            wait = self._wrong.take(address, rate=_WRONG_RATE, burst=_WRONG_BURST)
            if wait:
                message = "Too many requests without a valid key come from your address: wait, and check the key."
                raise RateLimited(message, wait_s=wait) from error
            raise


def check_body(caller: Caller, operation: Operation, body: Any) -> None:
    """Whether a caller may do what a body asks for in the groups that it names.

    Raises:
        Forbidden: not in one of them, be it there or not.
    """
    for group in operation.groups_in_body(body):
        _check_role(caller, group.role)
        _check_group(caller, operation.family, group.name)


def _check_role(caller: Caller, role: KeyRole) -> None:
    if not caller.may(role):
        raise Forbidden(f"This needs a key with the role {role}: that of the key {caller.key_id} is not enough.")


def _check_all_groups(caller: Caller) -> None:
    if not caller.sees_every_group:
        raise Forbidden("This shows facts of all groups together: it needs a key for all of them.")


def _check_group(caller: Caller, family: str, name: str) -> None:
    if not caller.sees(family, name):
        raise Forbidden(f"The key {caller.key_id} is not for the {family} group {name!r}, whether or not there is one.")


def _sent_key(request: Request) -> str:
    """What came as a key.

    Raises:
        Unauthorized: nothing, or several things.
    """
    sent: set[str] = set(request.headers.getall("x-api-key", []))
    for value in request.headers.getall("authorization", []):
        scheme, _, key = value.strip().partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("Authorization must be `Bearer <key>`: other schemes are not known here.")
        sent.add(key.strip())
    if not sent:
        raise Unauthorized
    if len(sent) > 1:
        raise Unauthorized("The request has several keys: send one.", given=True)
    return sent.pop()
