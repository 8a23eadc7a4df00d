"""The decision on a face: the order of its reasons, and a turn that only the head's own turn changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.catalogue.models import DLIB_TEMPLATE
from app.catalogue.roles import QualityClass
from app.vision.detection import Face
from app.vision.quality import Quality, QualityRules, face_quality, turn

RULES = QualityRules(small_side=40, pose_yaw=0.3, pose_pitch=0.2)
FRONTAL = np.asarray(DLIB_TEMPLATE, np.float32)


def face(*, width: float = 60, height: float = 80, nose: tuple[float, float] = (0, 0)) -> Face:
    landmarks = FRONTAL.copy()
    landmarks[2] += nose
    return Face((10, 10, 10 + width, 10 + height), 0.9, landmarks)


def sure_of(chosen: QualityClass) -> NDArray[np.float32]:
    return np.array([0.7 if one is chosen else 0.1 for one in QualityClass], np.float32)


@pytest.mark.parametrize("said", QualityClass)
def test_the_models_likeliest_class_is_the_quality(said: QualityClass) -> None:
    assert face_quality(sure_of(said), face(), RULES).value == said.value


@pytest.mark.parametrize("said", QualityClass)
def test_a_small_face_is_small_whatever_the_model_says(said: QualityClass) -> None:
    assert face_quality(sure_of(said), face(width=39.4), RULES) is Quality.SMALL
    assert face_quality(sure_of(said), face(height=39.4), RULES) is Quality.SMALL


def test_a_face_of_just_the_smallest_side_as_clients_see_it_is_not_small() -> None:
    assert face_quality(sure_of(QualityClass.CLEAR), face(width=39.6), RULES) is Quality.CLEAR
    assert face_quality(sure_of(QualityClass.CLEAR), face(width=40, height=40), RULES) is Quality.CLEAR


@pytest.mark.parametrize("nose", [(20, 0), (-20, 0), (0, 14), (0, -14)])
def test_a_head_turned_far_to_any_side_is_a_pose_where_the_model_finds_it_clear(nose: tuple[float, float]) -> None:
    assert face_quality(sure_of(QualityClass.CLEAR), face(nose=nose), RULES) is Quality.POSE
    assert face_quality(sure_of(QualityClass.BLUR), face(nose=nose), RULES) is Quality.BLUR
    assert face_quality(sure_of(QualityClass.COVER), face(nose=nose), RULES) is Quality.COVER


def test_a_head_turned_a_little_is_clear() -> None:
    assert face_quality(sure_of(QualityClass.CLEAR), face(nose=(10, 4)), RULES) is Quality.CLEAR


def test_yaw_is_positive_towards_the_persons_left_and_pitch_downwards() -> None:
    assert turn(face(nose=(5, 0)).landmarks).yaw == pytest.approx(5 / 52.93, abs=1e-2)
    assert turn(face(nose=(0, 5)).landmarks).pitch - turn(FRONTAL).pitch == pytest.approx(5 / 56.42, abs=1e-2)


@given(
    angle=st.floats(-3.1, 3.1), scale=st.floats(0.2, 20), x=st.floats(-500, 3000), y=st.floats(-500, 3000),
    nose=st.tuples(st.floats(-40, 40), st.floats(-30, 30)),
)  # fmt: skip
def test_a_tilt_the_size_and_the_place_of_a_face_do_not_change_its_turn(
    angle: float, scale: float, x: float, y: float, nose: tuple[float, float]
) -> None:
    landmarks = face(nose=nose).landmarks
    cos, sin = np.cos(angle) * scale, np.sin(angle) * scale
    moved = landmarks.astype(np.float64) @ np.array([[cos, sin], [-sin, cos]]) + [x, y]
    before, after = turn(landmarks), turn(moved.astype(np.float32))
    assert after.yaw == pytest.approx(before.yaw, abs=5e-3)
    assert after.pitch == pytest.approx(before.pitch, abs=5e-3)


@given(nose=st.tuples(st.floats(-40, 40), st.floats(-30, 30)))
def test_a_mirrored_face_is_turned_as_far_to_the_other_side(nose: tuple[float, float]) -> None:
    landmarks = face(nose=nose).landmarks
    mirrored = (landmarks * [-1, 1])[[1, 0, 2, 4, 3]].astype(np.float32)
    assert turn(mirrored).yaw == pytest.approx(-turn(landmarks).yaw, abs=1e-4)
    assert turn(mirrored).pitch == pytest.approx(turn(landmarks).pitch, abs=1e-4)


def test_landmarks_on_one_point_are_a_pose_and_no_error() -> None:
    collapsed = Face((0, 0, 50, 50), 0.9, np.full((5, 2), 20, np.float32))
    assert face_quality(sure_of(QualityClass.CLEAR), collapsed, RULES) is Quality.POSE
