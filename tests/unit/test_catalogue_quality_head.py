"""The committed quality head: it is the pinned one, tells where it is from, and another one is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from app.catalogue.face_quality import WIDTH
from app.catalogue.models import FACE_QUALITY
from app.catalogue.quality_head import HEAD_FILE, HEAD_PROVENANCE_NAME, QualityHead, read_head
from app.catalogue.roles import QualityClass
from app.catalogue.sources import DLIB_RESNET
from app.errors import OperatorError


def made() -> QualityHead:
    random = np.random.default_rng(1)
    return QualityHead(random.normal(0, 1, (6, 4)).astype(np.float32), random.normal(0, 1, 4).astype(np.float32))


def test_a_head_reads_back_the_same_and_equal_ones_have_equal_bytes() -> None:
    read = QualityHead.from_bytes(made().to_bytes())
    np.testing.assert_array_equal(read.weights, made().weights)
    np.testing.assert_array_equal(read.bias, made().bias)
    assert read.to_bytes() == made().to_bytes()


def test_a_head_gives_probabilities_also_of_features_far_away() -> None:
    told = made()(np.eye(6, dtype=np.float32) * 1e4)
    assert np.isfinite(told).all()
    np.testing.assert_allclose(told.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", b"nothing"])
def test_bytes_of_another_form_are_no_head(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        QualityHead.from_bytes(content)


def test_the_committed_head_fits_the_model_and_is_small() -> None:
    head = read_head(FACE_QUALITY.weights_sha256)
    assert head.weights.shape == (WIDTH, len(QualityClass))
    assert head.bias.shape == FACE_QUALITY.outputs[0].dims
    assert np.isfinite(head.weights).all()
    assert HEAD_FILE.stat().st_size <= 60_000


def test_the_provenance_is_that_of_the_committed_head() -> None:
    told = json.loads((HEAD_FILE.parent / HEAD_PROVENANCE_NAME).read_text(encoding="utf-8"))
    assert told["sha256"] == hashlib.sha256(HEAD_FILE.read_bytes()).hexdigest() == FACE_QUALITY.weights_sha256
    assert told["weights"]["sha256"] == DLIB_RESNET.member_sha256
    assert all(len(checksum) == 64 for checksum in told["photos"].values())
    assert told["graph_difference"] <= 0.01


def test_the_committed_head_was_good_on_persons_held_out() -> None:
    told = json.loads((HEAD_FILE.parent / HEAD_PROVENANCE_NAME).read_text(encoding="utf-8"))
    assert told["evaluation"]["made"]["accuracy"] >= 0.95
    untouched = told["evaluation"]["photographed"]["trained_on"]
    assert untouched["faces"] == told["faces"]
    assert untouched["said"]["clear"] >= 0.95 * untouched["faces"]


def test_another_head_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "face_quality_head.npz"
    with pytest.raises(OperatorError, match="cannot be read"):
        read_head(FACE_QUALITY.weights_sha256, path)
    path.write_bytes(HEAD_FILE.read_bytes() + b"\0")
    with pytest.raises(OperatorError, match="is not the quality head that the catalogue pins"):
        read_head(FACE_QUALITY.weights_sha256, path)
