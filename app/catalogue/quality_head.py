"""The linear map that the project trained to judge faces: how it is kept, and where."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.catalogue.trained_file import read_trained

HEAD_NAME: Final = "face_quality_head.npz"
HEAD_PROVENANCE_NAME: Final = "face_quality_head.json"
HEAD_FILE: Final = Path(__file__).parent / HEAD_NAME


@dataclass(frozen=True, slots=True)
class QualityHead:
    """``softmax(features @ weights + bias)``.

    Attributes:
        weights: FP32 [F,C].
        bias: FP32 [C].
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities FP32 [N,C], from FP32 [N,F]."""
        logits = features @ self.weights + self.bias
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(powers / powers.sum(1, keepdims=True), np.float32)

    def to_bytes(self) -> bytes:
        """The file's content: equal heads give equal bytes."""
        buffer = io.BytesIO()
        np.savez(buffer, weights=self.weights, bias=self.bias)
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes) -> QualityHead:
        """Reads what ``to_bytes`` wrote.

        Raises:
            ValueError: it is of another form.
        """
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                return cls(arrays["weights"].astype(np.float32), arrays["bias"].astype(np.float32))
        except (OSError, EOFError, KeyError, AttributeError) as error:
            raise ValueError("no quality head") from error


def read_head(sha256: str, path: Path = HEAD_FILE) -> QualityHead:
    """The committed head.

    Args:
        sha256: its pinned checksum.
        path: the file.

    Raises:
        OperatorError: the file is missing or not the pinned one.
    """
    return QualityHead.from_bytes(read_trained(path, sha256, "quality head"))
