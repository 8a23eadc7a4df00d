"""What clients were answered: how often what, how late, and whether each error has the one shape."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.running_service import Reply

_EXPECTED = {200, 404, 409, 429, 503, 504}
_SHAPE = {"error", "code", "request_id"}


@dataclass(slots=True)
class Exchanges:
    """Told of every call by every client.

    Attributes:
        statuses: how often each; 0 for a call without an answer.
        codes: of errors, how often each.
        longest_s: until an answer, or until it was clear that none would come.
        unexpected: a sentence for each answer that should not be.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    longest_s: float = 0.0
    unexpected: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, path: str, reply: Reply | None, seconds: float) -> None:
        """Takes note of one call."""
        with self._lock:
            self.longest_s = max(self.longest_s, seconds)
            self.statuses[reply.status if reply is not None else 0] += 1
            if reply is None or reply.status == 200:
                return
            body = reply.body if isinstance(reply.body, Mapping) else {}
            self.codes[str(body.get("code"))] += 1
            told = f"{path} was answered {reply.status}: { {**body, 'request_id': '…'} if body else reply.body }"
            if reply.status not in _EXPECTED:
                self.unexpected.append(told)
            elif not body.keys() >= _SHAPE:
                self.unexpected.append(f"{told}, which is not the one shape")
            elif reply.status in (429, 503) and "Retry-After" not in reply.headers:
                self.unexpected.append(f"{told}, without Retry-After")
