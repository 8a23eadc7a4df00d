"""The committed projection: it is the pinned one, tells where it is from, and another one is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from app.catalogue.models import IMAGE_EMBEDDER
from app.catalogue.projection import PROJECTION_FILE, PROVENANCE_NAME, Projection, read_projection
from app.catalogue.sources import CENTERFACE
from app.errors import OperatorError


def made() -> Projection:
    random = np.random.default_rng(1)
    directions = random.normal(0, 1, (6, 3)).astype(np.float16).astype(np.float32)
    return Projection(random.normal(0, 1, 6).astype(np.float32), directions)


def test_a_projection_reads_back_the_same_and_equal_ones_have_equal_bytes() -> None:
    read = Projection.from_bytes(made().to_bytes())
    np.testing.assert_array_equal(read.mean, made().mean)
    np.testing.assert_array_equal(read.directions, made().directions)
    assert read.to_bytes() == made().to_bytes()


def test_projected_features_have_length_one() -> None:
    projected = made()(np.eye(6, dtype=np.float32))
    np.testing.assert_allclose(np.linalg.norm(projected, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("content", [b"", b"PK", b"\x93NUMPY", b"nothing"])
def test_bytes_of_another_form_are_no_projection(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        Projection.from_bytes(content)


def test_the_committed_projection_fits_the_model_and_is_small() -> None:
    projection = read_projection(IMAGE_EMBEDDER.weights_sha256)
    assert projection.directions.shape == (*projection.mean.shape, *IMAGE_EMBEDDER.outputs[0].dims)
    assert np.isfinite(projection.directions).all()
    assert PROJECTION_FILE.stat().st_size <= 1_600_000


def test_the_provenance_is_that_of_the_committed_projection() -> None:
    told = json.loads((PROJECTION_FILE.parent / PROVENANCE_NAME).read_text(encoding="utf-8"))
    assert told["sha256"] == hashlib.sha256(PROJECTION_FILE.read_bytes()).hexdigest() == IMAGE_EMBEDDER.weights_sha256
    assert told["weights"]["sha256"] == CENTERFACE.member_sha256
    assert all(len(checksum) == 64 for checksum in told["photos"].values())
    assert told["graph_agreement"] >= 0.99
    assert told["evaluation"]["photos"] == len(told["photos"])
    assert told["evaluation"]["gallery_at_least"] > 1000


def test_another_projection_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image_projection.npz"
    with pytest.raises(OperatorError, match="cannot be read"):
        read_projection(IMAGE_EMBEDDER.weights_sha256, path)
    path.write_bytes(PROJECTION_FILE.read_bytes() + b"\0")
    with pytest.raises(OperatorError, match="is not the projection that the catalogue pins"):
        read_projection(IMAGE_EMBEDDER.weights_sha256, path)
