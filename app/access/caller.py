"""Who asks."""

from __future__ import annotations

from dataclasses import dataclass

from app.access.key import ApiKey, KeyRole


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request.

    Attributes:
        address: of the other end of the connection.
        key: its key; None where the service asks for none.
    """

    address: str = ""
    key: ApiKey | None = None

    @property
    def key_id(self) -> str:
        """The public id of its key; empty without one."""
        return self.key.id if self.key is not None else ""

    def may(self, role: KeyRole) -> bool:
        """Whether it may do what a role may."""
        return self.key is None or self.key.role.includes(role)

    def sees(self, family: str, group: str) -> bool:
        """Whether it may know of a group."""
        return self.key is None or self.key.sees(family, group)

    @property
    def sees_every_group(self) -> bool:
        """Whether it may know of all groups together."""
        return self.key is None or self.key.sees_every_group


ANYBODY = Caller()
