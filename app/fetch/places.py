"""Places for those who fetch: so many in all, and so many at each address, whatever names it goes by."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from typing import Final

from app.fetch.addresses import IpAddress, embedded_v4

_PREFIX_V6: Final = 64  # of one owner: who has one address there has all


def site(address: IpAddress) -> str:
    """What addresses of one machine have in common."""
    address = embedded_v4(address)
    bits = 128 - _PREFIX_V6
    return str(address) if address.version == 4 else f"{int(address) >> bits:x}/{_PREFIX_V6}"


class Places:
    """Grants places in the order in which they were asked for, past those whose address is full.

    Who may go to several addresses takes a place at each: which one answers is only known afterwards.

    Args:
        total: places in all.
        each: places at one site.
    """

    def __init__(self, *, total: int, each: int) -> None:
        self._free = total
        self._each = each
        self._taken: Counter[str] = Counter()
        self._waiters: deque[tuple[frozenset[str], asyncio.Future[None]]] = deque()

    @asynccontextmanager
    async def take(self, sites: Collection[str]) -> AsyncIterator[None]:
        """Waits for a place at all of the sites and holds it inside the block."""
        wanted = frozenset(sites)
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = (wanted, granted)
        self._waiters.append(waiter)
        self._grant()
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._give_back(wanted)  # granted in the very turn in which the caller left
            else:
                self._waiters.remove(waiter)
            raise
        try:
            yield
        finally:
            self._give_back(wanted)

    def _give_back(self, sites: frozenset[str]) -> None:
        self._free += 1
        self._taken.subtract(sites)
        for each in sites:
            if not self._taken[each]:
                del self._taken[each]
        self._grant()

    def _grant(self) -> None:
        passed: deque[tuple[frozenset[str], asyncio.Future[None]]] = deque()
        while self._waiters and self._free:
            sites, granted = waiter = self._waiters.popleft()
            if granted.cancelled() or any(self._taken[each] >= self._each for each in sites):
                passed.append(waiter)
                continue
            self._free -= 1
            self._taken.update(sites)
            granted.set_result(None)
        self._waiters.extendleft(reversed(passed))
