"""The keys as a running service knows them: read again whenever their file changes."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from app.access.key import ApiKey, KeyRole, new_key, parts_of
from app.access.key_file import KeyFile, Keys, UnreadableKeys
from app.access.key_uses import KeyUses
from app.errors import BackendUnavailable, Unauthorized

_log = logging.getLogger("likeness.keys")


class KeyRing:
    """Tells whose key a caller has.

    The file is looked at for every request, which costs some microseconds: a key that was revoked is refused from the
    next request on, in every process that shares the file.

    Args:
        file: where keys are kept.
        uses: where their uses are noted.
    """

    def __init__(self, file: KeyFile, uses: KeyUses) -> None:
        self._file = file
        self._uses = uses
        self._version: tuple[int, ...] | None = None
        self._keys: Keys | None = {}
        # An unknown id takes as long as a wrong secret.
        self._nobody, _ = new_key("nobody", KeyRole.READ, ["*"])

    def owner(self, text: str) -> ApiKey:
        """The key that a caller sent.

        Raises:
            Unauthorized: it is none, or it is revoked or expired.
            BackendUnavailable: the file of the keys cannot be read.
        """
        keys = self._current()
        id, secret = parts_of(text) or ("", "")  # noqa: A001
        key = keys.get(id, self._nobody)
        now = datetime.now(UTC)
        if not key.is_secret(secret, now) or key is self._nobody:
            raise Unauthorized("This is no key of this service: check that it was copied whole.", given=True)
        if not key.is_usable(now):
            state = "was revoked" if key.revoked is not None else "has expired"
            raise Unauthorized(f"The key {key.id} {state}: ask for another one.", given=True)
        self._uses.note(key.id)
        return key

    def _current(self) -> Keys:
        try:
            version = self._file.version()
            if version != self._version or self._keys is None:
                # The version that was looked at first: a change in between is found the next time.
                self._keys, self._version = self._file.read(), version
                _log.info("%d keys are in %s", len(self._keys), self._file.path)
        except UnreadableKeys as error:
            # Old keys are not trusted for longer: among them may be the one that somebody just revoked by hand.
            if self._keys is not None:
                _log.error("The keys in %s cannot be read, so nobody is let in: %s", self._file.path, error)
            self._keys = None
            message = "The service cannot read its keys at the moment: its log says why."
            raise BackendUnavailable(message) from error
        return self._keys
