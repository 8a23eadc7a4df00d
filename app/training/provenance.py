"""What is written beside a trained file: how it came to be, and with what."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.errors import OperatorError


def versions() -> dict[str, str]:
    """What it was made with, as far as it decides numbers."""
    python = ".".join(str(part) for part in sys.version_info[:2])
    return {"python": python, **{name: version(name) for name in ("numpy", "onnxruntime", "pillow")}}


def write(trained: Path, content: bytes, told: Path, provenance: dict[str, Any]) -> None:
    """Writes a trained file and, as JSON, where it is from.

    Args:
        trained: the file; its folder is made where it is missing.
        content: of the file.
        told: the file beside it.
        provenance: of the trained file.

    Raises:
        OperatorError: they cannot be written.
    """
    try:
        trained.parent.mkdir(parents=True, exist_ok=True)
        trained.write_bytes(content)
        told.write_text(json.dumps(provenance, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except OSError as error:
        raise OperatorError(f"{trained.parent} cannot be written ({error.strerror}).") from error
