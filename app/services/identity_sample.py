"""Rows of a group with their identities: all of them, or a sample that is the same every time."""

from __future__ import annotations

import heapq
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

# An identity gets this part of the sample at most: more of its pairs would tell little more.
_PARTS = 4


_Rows = list[tuple[int, str, NDArray[np.float32]]]


class IdentitySample:
    """Keeps the identities of the smallest hashes, each whole, so that pairs of the same identity stay together.

    Which rows are kept depends on the rows alone and not on their order. Only an identity with more than a quarter of
    all that may be kept is itself cut, to the rows whose ids have the smallest hashes.

    Args:
        most: rows to keep at most, at least 8.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_one = most // _PARTS
        # Heaps, the one to go first on top: the rows of each kept identity, and these identities themselves.
        self._kept: dict[str, _Rows] = {}
        self._last: list[tuple[int, str]] = []
        self._cut: int | None = None  # identities of this hash or over were sampled out
        self.rows = 0
        self.sampled = False

    @property
    def identities(self) -> int:
        """How many are kept."""
        return len(self._kept)

    @property
    def same_pairs(self) -> int:
        """Pairs of kept rows of one identity."""
        return sum(len(rows) * (len(rows) - 1) // 2 for rows in self._kept.values())

    def add(self, id: str, identity: str, vector: NDArray[np.float32]) -> None:  # noqa: A002 (the API's word)
        """Takes a row, and lets others go where there are too many.

        Args:
            id: of the row; each one once.
            identity: whose image it is.
            vector: float32 [D]; it is copied.
        """
        rank = _hash(identity)
        if self._cut is not None and rank >= self._cut:
            return
        if identity not in self._kept:
            self._kept[identity] = []
            heapq.heappush(self._last, (-rank, identity))
        rows = self._kept[identity]
        heapq.heappush(rows, (-_hash(id), id, vector.copy()))
        self.rows += 1
        if len(rows) > self._most_of_one:
            heapq.heappop(rows)
            self.rows -= 1
            self.sampled = True
        while self.rows > self._most:
            negative, last = heapq.heappop(self._last)
            self._cut = -negative
            self.rows -= len(self._kept.pop(last))
            self.sampled = True

    def arrays(self) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
        """Embeddings, float32 [N, D], and for each the number of its identity, int32 [N]; N is at least 1."""
        vectors = np.stack([vector for rows in self._kept.values() for _, _, vector in rows])
        sizes = [len(rows) for rows in self._kept.values()]
        return vectors, np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")
