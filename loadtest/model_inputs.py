"""Keeps what the models are really asked: frames, close-ups, chips and squashes of composed photos, in one .npz file.

python -m loadtest.model_inputs build/model_inputs.npz                # portraits: ../shared/photos

For `loadtest.model_speed` on a machine that has neither the photos nor what decodes them.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.catalogue.roles import Role
from loadtest.bench.bare_faces import BareFaces, BareImages
from loadtest.bench.bare_models import Outputs, Sessions
from loadtest.bench.photos import Scene, compose
from loadtest.model_speed import kept_as
from tests.photos import PHOTOS

_REPOSITORY = Path("model_repository")


class _Recorder:
    """Runs batches, and keeps their items by role and size."""

    def __init__(self, repository: Path) -> None:
        self._sessions = Sessions(repository)
        self.seen: dict[str, list[NDArray[Any]]] = defaultdict(list)

    def infer(self, role: Role, batch: NDArray[Any]) -> Outputs:
        """The outputs of one batch, by name."""
        self.seen[kept_as(role, batch.shape[1:3])].extend(batch)
        return self._sessions.infer(role, batch)


def main() -> None:
    """Reads the arguments, composes, runs the pipelines, writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="to write")
    parser.add_argument("--photos", type=Path, default=PHOTOS, help="folder of portraits")
    parser.add_argument("--repository", type=Path, default=_REPOSITORY)
    parser.add_argument("--count", type=int, default=24, help="photos of 640 by 480 pixels")
    arguments = parser.parse_args()
    counting = BareFaces(Sessions(arguments.repository), arguments.repository)

    def faces_in(file: bytes) -> int:
        return len(counting.embeddings([file])[0])

    eight = compose(arguments.photos, Scene("640", 8), 2, faces_in)
    files = [*compose(arguments.photos, Scene("640", 1), arguments.count - len(eight), faces_in), *eight]
    recorder = _Recorder(arguments.repository)
    BareFaces(recorder, arguments.repository).embeddings(files)
    BareImages(recorder, arguments.repository).embeddings(files)
    arrays = {name: np.stack(items) for name, items in recorder.seen.items()}
    arguments.file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.file, **arrays)  # type: ignore[arg-type]
    for name, array in arrays.items():
        print(name, len(array))
    print(f"{arguments.file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
