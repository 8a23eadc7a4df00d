"""Finds the faces of an image, whichever way up it is, with landmarks that can be trusted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from app.catalogue.roles import BOXES, LANDMARKS, SCORES
from app.errors import InvalidBoundingBox
from app.inference.models import DetectorSpec, ServedModel
from app.services.fan_out import for_each, for_each_face
from app.services.image_source import ImageSource, OpenImage
from app.vision.close_up import (
    Arrays,
    CloseUp,
    Look,
    around,
    around_quadrilateral,
    box_in_close_up,
    close_up,
    is_detailed,
    looks,
    strip,
    tilted_by,
    upright_merit,
)
from app.vision.detection import BoxedFace, Face, faces_from_candidates, largest_first, without_doubles
from app.vision.homography import Matrix, inverse, mapped
from app.vision.letterbox import Letterbox, fits, letterbox
from app.vision.orientation import expected_landmarks, roll
from app.vision.quadrilateral import Quadrilateral
from app.vision.quarters import QUARTERS

# How often a tilted face is set upright and looked at again: a first guess of its tilt can be off by another 40°.
STRAIGHTENINGS = 2
# A JPEG may be decoded at a reduced scale of at least this many times the detector's input.
OVERSAMPLING = 2
# Candidates that are faces, up to which they are sorted out faster than a thread is reached.
_FEW = 16
# Share of a given box that must lie in the image: faces at its edge do, and what shows nothing would match its like.
_LEAST_INSIDE = 0.25

Image = NDArray[np.uint8]
Points = tuple[tuple[float, float], ...]


class FaceFinder:
    """Detects faces and looks at each of them closely.

    The whole image is looked at once. Where nothing is found, the detector glances at it turned by each quarter,
    at half the scale: large faces that lie on their side are missed otherwise (16 to 20 of 27 portraits; with it none).
    Where most of what is found stands in another quarter, the image is looked at once more in that one.

    Args:
        source: its threads work on pixels.
        detector: the model ``face_detector``.
    """

    def __init__(self, source: ImageSource, detector: ServedModel[DetectorSpec]) -> None:
        self._source = source
        self._detector = detector

    async def needed_side(self) -> int:
        """The long side in pixels beyond which only faces too small for ``is_detailed`` need more."""
        return (await self._detector.spec()).input_long_side * OVERSAMPLING

    async def faces(self, image: OpenImage) -> list[Face]:
        """The faces of an image, largest first; all of it is decoded where one of them needs that."""
        spec = await self._detector.spec()
        shape = {"long_side": spec.input_long_side, "multiple": spec.input_multiple}
        boxed = partial(letterbox, image.pixels, **shape)
        frame = boxed() if fits(image.pixels, **shape) else await self._source.work_on(image, boxed)
        frame = frame.rescaled(image.scale)
        quarter, found = 0, await self._detected(image, frame, 0, spec)
        if not found:
            quarter, found = await self._glance(image, frame, spec)
        standing = await self._straightened(image, spec, quarter, found)
        faces = [face for face, _ in standing]
        most = quarter_of_most([stands for _, stands in standing])
        if most is None or most == quarter:
            return largest_first(faces)
        again = await self._straightened(image, spec, most, await self._detected(image, frame, most, spec))
        return without_doubles([*faces, *(face for face, _ in again)], spec.nms_iou)

    async def boxed(self, image: OpenImage, points: Points) -> BoxedFace:
        """The face in a box that the caller gave, by its landmarks where the detector sees it there.

        Args:
            image: all of it.
            points: four corners: the face's top left, top right, bottom right, bottom left.

        Raises:
            InvalidBoundingBox: less than a quarter of the box lies in the image.
        """
        box = Quadrilateral(points)
        if box.share_inside(image.width, image.height) < _LEAST_INSIDE:
            whole = [[round(x), round(y)] for x, y in points]
            message = (
                f"The bounding box {whole} lies outside the image or for the most part outside it; as a person sees it "
                f"the image is {image.width}×{image.height} pixels: send a box inside it."
            )
            raise InvalidBoundingBox(message)
        spec = await self._detector.spec()
        to_image, upright = around_quadrilateral(box), box_in_close_up(box.width, box.height)
        _, seen = await self._closely(image, to_image, tuple(QUARTERS), upright)
        best = await self._best(image, seen, to_image, upright)
        if best is not None and best.is_face(spec.score_threshold):
            landmarks = best.landmarks
        else:
            landmarks = mapped(expected_landmarks(upright), to_image).astype(np.float32)
        corners = tuple((round(x), round(y)) for x, y in points)
        return BoxedFace(corners, min(box.width, box.height), landmarks, to_image)

    async def _detected(self, image: OpenImage, frame: Letterbox, quarter: int, spec: DetectorSpec) -> list[Face]:
        """What the detector sees in the image turned by so many quarters."""
        turned = await self._source.in_thread(partial(frame.turned, quarter)) if quarter else frame
        boxes, scores, landmarks = await self._candidates(turned.pixels)
        faces = partial(
            faces_from_candidates,
            boxes,
            scores,
            landmarks,
            turned,
            width=image.width,
            height=image.height,
            score_threshold=spec.score_threshold,
            nms_iou=spec.nms_iou,
        )
        few = np.count_nonzero(scores >= spec.score_threshold) <= _FEW
        return faces() if few else await self._source.in_thread(faces)

    async def _glance(self, image: OpenImage, frame: Letterbox, spec: DetectorSpec) -> tuple[int, list[Face]]:
        """The quarter turn in which most faces stand upright at half the scale, and the faces seen in it at full."""
        small = await self._source.in_thread(
            partial(frame.smaller, long_side=spec.input_long_side // 2, multiple=spec.input_multiple)
        )
        turns = QUARTERS[1:]
        glances = await for_each(turns, lambda quarter: self._detected(image, small, quarter, spec))
        worth = [
            sum(upright_merit(face.landmarks, face.score, quarter) for face in faces)
            for quarter, faces in zip(turns, glances, strict=True)
        ]
        best = int(np.argmax(worth))
        if not glances[best]:
            return 0, []
        return turns[best], await self._detected(image, frame, turns[best], spec) or glances[best]

    async def _straightened(
        self, image: OpenImage, spec: DetectorSpec, quarter: int, faces: Sequence[Face]
    ) -> list[tuple[Face, int]]:
        """Those of what was found that are faces, with landmarks that can be trusted, and the quarter each stands in.

        Args:
            image: where they were found.
            spec: of the detector.
            quarter: the turn in which the image was looked at.
            faces: what was found.
        """
        if not all(is_detailed(face.box, image.scale) for face in faces) and not image.is_whole:
            await image.make_whole()
        looked_at = await for_each_face(faces, partial(self._look_closely, image, spec, quarter))
        return [face for face in looked_at if face is not None]

    async def _look_closely(
        self, image: OpenImage, spec: DetectorSpec, quarter: int, face: Face
    ) -> tuple[Face, int] | None:
        to_image, upright = around(face.box), box_in_close_up(face.width, face.height)
        shown, first = await self._closely(image, to_image, (quarter,), upright)
        if first and first[0].is_sure(face.landmarks, max(face.width, face.height)):
            return face.with_landmarks((face.landmarks + first[0].landmarks) / 2), quarter
        others = tuple(turn for turn in QUARTERS if turn != quarter)
        best = await self._best(image, [*first, *await self._looks(shown, others, upright)], to_image, upright)
        if best is None or not best.is_face(spec.score_threshold):
            return None
        return face.with_landmarks(best.landmarks), round(-roll(best.landmarks) / 90) % 4

    async def _best(self, image: OpenImage, seen: Sequence[Look], to_image: Matrix, expected: Matrix) -> Look | None:
        """The look with the most merit, and again with the face set upright where it was tilted; None of none."""
        best = max(seen, key=lambda look: look.merit, default=None)
        for _ in range(STRAIGHTENINGS):
            if best is None or not best.is_tilted():
                break
            straight = tilted_by(roll(mapped(best.landmarks, inverse(to_image))), to_image)
            _, again = await self._closely(image, straight, (0,), expected)
            best = max([best, *again], key=lambda look: look.merit)
        return best

    async def _closely(
        self, image: OpenImage, to_image: Matrix, quarters: Sequence[int], expected: Matrix
    ) -> tuple[CloseUp, list[Look]]:
        """A close-up, and the looks at its turns."""

        def shown_and_turned() -> tuple[CloseUp, Image]:  # in one go: a way to a thread and back is not free
            shown = close_up(image.pixels, to_image, image.scale)
            return shown, strip(shown, quarters)

        shown, turns = await self._source.work_on(image, shown_and_turned)
        return shown, await self._seen(shown, quarters, turns, expected)

    async def _looks(self, shown: CloseUp, quarters: Sequence[int], expected: Matrix) -> list[Look]:
        turns = await self._source.in_thread(partial(strip, shown, quarters))
        return await self._seen(shown, quarters, turns, expected)

    async def _seen(self, shown: CloseUp, quarters: Sequence[int], turns: Image, expected: Matrix) -> list[Look]:
        # In no thread: it takes less than the way to one and back.
        return looks(shown, quarters, await self._candidates(turns), expected)

    async def _candidates(self, pixels: Image) -> Arrays:
        outputs = (await self._detector.infer(pixels)).outputs
        return outputs[BOXES], outputs[SCORES], outputs[LANDMARKS]


def quarter_of_most(quarters: Sequence[int]) -> int | None:
    """The quarter that more than half of the faces stand in, if any."""
    return next((quarter for quarter, count in Counter(quarters).items() if count * 2 > len(quarters)), None)
