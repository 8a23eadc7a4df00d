"""The linear map that the project trained for its image descriptor: how it is kept, and where."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.catalogue.trained_file import read_trained

PROJECTION_NAME: Final = "image_projection.npz"
PROVENANCE_NAME: Final = "image_projection.json"
PROJECTION_FILE: Final = Path(__file__).parent / PROJECTION_NAME


@dataclass(frozen=True, slots=True)
class Projection:
    """``(features - mean) @ directions``.

    Attributes:
        mean: FP32 [F].
        directions: FP32 [F,D], of half precision's values.
    """

    mean: NDArray[np.float32]
    directions: NDArray[np.float32]

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """FP32 [N,D] of length 1, from FP32 [N,F]."""
        projected = (features - self.mean) @ self.directions
        lengths = np.linalg.norm(projected, axis=1, keepdims=True)
        return np.asarray(projected / lengths, np.float32)

    def to_bytes(self) -> bytes:
        """The file's content: equal projections give equal bytes."""
        buffer = io.BytesIO()
        np.savez(buffer, mean=self.mean, directions=self.directions.astype(np.float16))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> Projection:
        """Reads what ``to_bytes`` wrote.

        Raises:
            ValueError: it is of another form.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return cls(arrays["mean"].astype(np.float32), arrays["directions"].astype(np.float32))
        except (OSError, EOFError, KeyError, AttributeError) as error:
            raise ValueError("no projection") from error


def read_projection(sha256: str, path: Path = PROJECTION_FILE) -> Projection:
    """The committed projection.

    Args:
        sha256: its pinned checksum.
        path: the file.

    Raises:
        OperatorError: the file is missing or not the pinned one.
    """
    return Projection.from_bytes(read_trained(path, sha256, "projection"))
