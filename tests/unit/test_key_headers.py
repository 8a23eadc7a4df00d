"""The key that commands send: from the settings or a file, and never from the command line."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from app.commands.service import key_headers
from app.config import Settings
from app.errors import OperatorError

KEY = "lk_0123456789_" + "A" * 43


def test_a_key_comes_from_the_settings_or_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert key_headers(Settings()) == {}
    assert key_headers(replace(Settings(), api_key=KEY)) == {"Authorization": f"Bearer {KEY}"}
    assert key_headers(replace(Settings(), api_key_file=tmp_path / "key")) == {"Authorization": f"Bearer {KEY}"}


def test_a_file_without_a_key_is_told_and_its_content_is_not(tmp_path: Path) -> None:
    with pytest.raises(OperatorError, match="cannot be read"):
        key_headers(replace(Settings(), api_key_file=tmp_path / "none"))
    (tmp_path / "key").write_text("first\nsecond")
    with pytest.raises(OperatorError) as refused:
        key_headers(replace(Settings(), api_key_file=tmp_path / "key"))
    assert "second" not in str(refused.value)
