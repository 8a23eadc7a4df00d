"""The limit of face and image search: what the service's pipelines do with pixels, one step after the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from app.catalogue.roles import BOXES, EMBEDDING, LANDMARKS, SCORES, Role
from app.services.face_finder import OVERSAMPLING as FACE_OVERSAMPLING
from app.services.face_finder import STRAIGHTENINGS, quarter_of_most
from app.services.image_pipeline import OVERSAMPLING
from app.stages import Stage, stage
from app.vision.alignment import aligned_chip
from app.vision.close_up import (
    CloseUp,
    Look,
    around,
    box_in_close_up,
    close_up,
    is_detailed,
    looks,
    strip,
    tilted_by,
    upright_merit,
)
from app.vision.decode import decode, read_header
from app.vision.detection import Face, faces_from_candidates, largest_first, without_doubles
from app.vision.homography import Matrix, inverse, mapped
from app.vision.letterbox import Letterbox, letterbox, squash
from app.vision.orientation import roll
from app.vision.quarters import QUARTERS
from loadtest.bench.bare_models import Models, detector, embedder, largest_batch

_MOST_PIXELS = 64_000_000

Image = NDArray[np.uint8]
Candidates = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]


class _Opened:
    """What ``OpenImage`` is to the service."""

    def __init__(self, file: bytes, needed_side: int) -> None:
        header = read_header(file, max_pixels=_MOST_PIXELS)
        self.width, self.height = header.width, header.height
        self._file = file
        self.pixels = decode(file, max_pixels=_MOST_PIXELS, needed_side=needed_side)

    @property
    def scale(self) -> tuple[float, float]:
        height, width = self.pixels.shape[:2]
        return width / self.width, height / self.height

    def make_whole(self) -> None:
        if self.scale != (1.0, 1.0):
            self.pixels = decode(self._file, max_pixels=_MOST_PIXELS)


class BareImages:
    """Embeds whole images.

    Args:
        models: runs batches.
        repository: says what they are like.
    """

    def __init__(self, models: Models, repository: Path) -> None:
        self._models = models
        self._size = embedder(repository, Role.IMAGE_EMBEDDER).input_size

    def embeddings(self, files: Sequence[bytes]) -> list[NDArray[np.float32]]:
        """FP32 [1, D] of each file. One at a time: batches of this model save nothing on a core."""
        return [self._embedding(file) for file in files]

    def _embedding(self, file: bytes) -> NDArray[np.float32]:
        with stage(Stage.DECODE):
            image = decode(file, max_pixels=_MOST_PIXELS, needed_side=self._size * OVERSAMPLING)
        with stage(Stage.ALIGN):
            pixels = squash(image, self._size)
        with stage(Stage.EMBED):
            return self._models.infer(Role.IMAGE_EMBEDDER, pixels[np.newaxis])[EMBEDDING]


class BareFaces:
    """Embeds the faces of images, as ``FaceFinder`` and ``FacePipeline`` find and cut them.

    Args:
        models: runs batches.
        repository: says what they are like.
    """

    def __init__(self, models: Models, repository: Path) -> None:
        self._models = models
        self._spec = detector(repository)
        self._embedder = embedder(repository, Role.FACE_EMBEDDER)
        self._batch = largest_batch(repository, Role.FACE_EMBEDDER)

    def embeddings(self, files: Sequence[bytes]) -> list[NDArray[np.float32]]:
        """FP32 [faces, D] of each file, largest face first; faces of all files share batches."""
        chips = [self._chips(file) for file in files]
        every = [chip for each in chips for chip in each]
        with stage(Stage.EMBED):
            parts = [
                self._models.infer(Role.FACE_EMBEDDER, np.stack(every[start : start + self._batch]))[EMBEDDING]
                for start in range(0, len(every), self._batch)
            ]
        vectors = np.concatenate(parts) if parts else np.zeros((0, self._embedder.dimension), np.float32)
        ends = np.cumsum([len(each) for each in chips])
        return np.split(vectors, ends[:-1])

    def _chips(self, file: bytes) -> list[Image]:
        with stage(Stage.DECODE):
            image = _Opened(file, self._spec.input_long_side * FACE_OVERSAMPLING)
        with stage(Stage.DETECT):
            faces = self._faces(image)
        cut = partial(aligned_chip, template=self._embedder.alignment_template, size=self._embedder.input_size)
        with stage(Stage.ALIGN):
            return [cut(image.pixels, face.landmarks, scale=image.scale) for face in faces]

    def _faces(self, image: _Opened) -> list[Face]:
        frame = letterbox(image.pixels, long_side=self._spec.input_long_side, multiple=self._spec.input_multiple)
        frame = frame.rescaled(image.scale)
        quarter, found = 0, self._detected(image, frame, 0)
        if not found:
            quarter, found = self._glance(image, frame)
        standing = self._straightened(image, quarter, found)
        faces = [face for face, _ in standing]
        most = quarter_of_most([stands for _, stands in standing])
        if most is None or most == quarter:
            return largest_first(faces)
        again = self._straightened(image, most, self._detected(image, frame, most))
        return without_doubles([*faces, *(face for face, _ in again)], self._spec.nms_iou)

    def _detected(self, image: _Opened, frame: Letterbox, quarter: int) -> list[Face]:
        turned = frame.turned(quarter) if quarter else frame
        return faces_from_candidates(
            *self._candidates(turned.pixels),
            turned,
            width=image.width,
            height=image.height,
            score_threshold=self._spec.score_threshold,
            nms_iou=self._spec.nms_iou,
        )

    def _glance(self, image: _Opened, frame: Letterbox) -> tuple[int, list[Face]]:
        small = frame.smaller(long_side=self._spec.input_long_side // 2, multiple=self._spec.input_multiple)
        turns = QUARTERS[1:]
        glances = [self._detected(image, small, quarter) for quarter in turns]
        worth = [
            sum(upright_merit(face.landmarks, face.score, quarter) for face in faces)
            for quarter, faces in zip(turns, glances, strict=True)
        ]
        best = int(np.argmax(worth))
        if not glances[best]:
            return 0, []
        return turns[best], self._detected(image, frame, turns[best]) or glances[best]

    def _straightened(self, image: _Opened, quarter: int, faces: Sequence[Face]) -> list[tuple[Face, int]]:
        if not all(is_detailed(face.box, image.scale) for face in faces):
            image.make_whole()
        looked_at = [self._look_closely(image, quarter, face) for face in faces]
        return [each for each in looked_at if each is not None]

    def _look_closely(self, image: _Opened, quarter: int, face: Face) -> tuple[Face, int] | None:
        to_image, upright = around(face.box), box_in_close_up(face.width, face.height)
        shown = close_up(image.pixels, to_image, image.scale)
        first = self._looks(shown, (quarter,), upright)
        if first and first[0].is_sure(face.landmarks, max(face.width, face.height)):
            return face.with_landmarks((face.landmarks + first[0].landmarks) / 2), quarter
        others = tuple(turn for turn in QUARTERS if turn != quarter)
        seen = [*first, *self._looks(shown, others, upright)]
        best = max(seen, key=lambda look: look.merit, default=None)
        for _ in range(STRAIGHTENINGS):
            if best is None or not best.is_tilted():
                break
            straight = tilted_by(roll(mapped(best.landmarks, inverse(to_image))), to_image)
            again = self._looks(close_up(image.pixels, straight, image.scale), (0,), upright)
            best = max([best, *again], key=lambda look: look.merit)
        if best is None or not best.is_face(self._spec.score_threshold):
            return None
        return face.with_landmarks(best.landmarks), round(-roll(best.landmarks) / 90) % 4

    def _looks(self, shown: CloseUp, quarters: Sequence[int], expected: Matrix) -> list[Look]:
        return looks(shown, quarters, self._candidates(strip(shown, quarters)), expected)

    def _candidates(self, pixels: Image) -> Candidates:
        found = self._models.infer(Role.FACE_DETECTOR, pixels[np.newaxis])
        return found[BOXES][0], found[SCORES][0], found[LANDMARKS][0]
