"""Settings: parsed with sentences, documented completely."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from pathlib import Path

import pytest

from app.cli import _settings_text
from app.config import Settings, documentation
from app.errors import OperatorError

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")


def test_an_empty_environment_gives_the_defaults_and_the_embedded_engines() -> None:
    settings = Settings.from_environment({})
    assert settings == Settings()
    assert (settings.host, settings.port, settings.data_dir) == ("127.0.0.1", 8000, Path("data"))
    assert settings.embedded_triton
    assert settings.embedded_milvus


def test_every_kind_of_value_is_read() -> None:
    settings = Settings.from_environment(
        {
            "LIKENESS_PORT": "9000",
            "LIKENESS_FACE_THRESHOLD": "0.5",
            "LIKENESS_DATA_DIR": "/srv/likeness",
            "LIKENESS_TRITON_URL": "triton:8001, dns:tritons:8001,[::1]:8001/8000",
            "LIKENESS_FETCH_ALLOW_NETWORKS": "10.0.0.0/8, fd00::/8",
            "LIKENESS_MILVUS_URI": "",
            "HOME": "/root",
        }
    )
    assert settings.port == 9000
    assert settings.face_threshold == 0.5
    assert settings.data_dir == Path("/srv/likeness")
    assert not settings.embedded_triton
    assert settings.embedded_milvus
    assert settings.fetch_allow_networks == (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("LIKENESS_PORT", "eighty", "LIKENESS_PORT is 'eighty': it must be a whole number of at least 1 and at most 65535."),
        ("LIKENESS_PORT", "0", "LIKENESS_PORT is '0': it must be a whole number of at least 1 and at most 65535."),
        ("LIKENESS_FACE_THRESHOLD", "nan", "LIKENESS_FACE_THRESHOLD is 'nan': it must be a number of at least 0 and at most 1."),
        ("LIKENESS_FACE_THRESHOLD", "2", "LIKENESS_FACE_THRESHOLD is '2': it must be a number of at least 0 and at most 1."),
        ("LIKENESS_LOG_LEVEL", "loud", "LIKENESS_LOG_LEVEL is 'loud': it must be debug, info, warning or error."),
        ("LIKENESS_LOG_FORMAT", "xml", "LIKENESS_LOG_FORMAT is 'xml': it must be human or json."),
        ("LIKENESS_FETCH_ALLOW_NETWORKS", "home", "LIKENESS_FETCH_ALLOW_NETWORKS is 'home': it must be networks such as 10.0.0.0/8, separated by commas."),
        ("LIKENESS_MILVUS_URI", "nonsense", "LIKENESS_MILVUS_URI is 'nonsense': it must be a URI such as http://host:19530."),
        ("LIKENESS_TRITON_URL", "http://triton:8001", "LIKENESS_TRITON_URL is 'http://triton:8001': it must be host:port of the gRPC endpoint, without http://, or host:port/port with that of the HTTP endpoint, or several of them, separated by commas."),
        ("LIKENESS_TRITON_URL", "one:8001,two", "LIKENESS_TRITON_URL is 'one:8001,two': it must be host:port of the gRPC endpoint, without http://, or host:port/port with that of the HTTP endpoint, or several of them, separated by commas."),
        ("LIKENESS_MILVUS_PREFIX", "a b", "LIKENESS_MILVUS_PREFIX is 'a b': it must be letters, then digits too."),
        ("LIKENESS_PROT", "1", "Unknown setting LIKENESS_PROT: run `likeness settings` for those that exist."),
    ],
)  # fmt: skip
def test_a_value_that_does_not_fit_is_refused_with_a_sentence(name: str, value: str, sentence: str) -> None:
    with pytest.raises(OperatorError, match=f"^{re.escape(sentence)}$"):
        Settings.from_environment({name: value})


def test_a_setting_can_be_kept_in_a_file(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("root:secret\n")
    settings = Settings.from_environment({"LIKENESS_MILVUS_TOKEN_FILE": str(token), "LIKENESS_PORT_FILE": ""})
    assert settings == Settings(milvus_token="root:secret")


def test_a_file_that_does_not_help_is_refused_with_a_sentence(tmp_path: Path) -> None:
    nowhere, binary = tmp_path / "nowhere", tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for path, reason in [(nowhere, "no such file or directory"), (binary, "it is no text")]:
        with pytest.raises(
            OperatorError, match=re.escape(f"LIKENESS_MILVUS_TOKEN_FILE is '{path}', which cannot be read ({reason})")
        ):
            Settings.from_environment({"LIKENESS_MILVUS_TOKEN_FILE": str(path)})
    with pytest.raises(OperatorError, match=r"^LIKENESS_PORT and LIKENESS_PORT_FILE are both set: keep one of them\.$"):
        Settings.from_environment({"LIKENESS_PORT": "1", "LIKENESS_PORT_FILE": str(nowhere)})
    with pytest.raises(OperatorError, match=r"^Unknown setting LIKENESS_PROT_FILE"):
        Settings.from_environment({"LIKENESS_PROT_FILE": str(nowhere)})


def test_the_readme_documents_every_setting_as_the_command_prints_it() -> None:
    rows = [f"| `{row.variable}` | {row.default} | {row.doc} |" for row in documentation()]
    assert len(rows) == len(dataclasses.fields(Settings))
    assert [row for row in rows if row not in README] == []
    assert set(re.findall(r"`(LIKENESS_(?!TEST_)\w+)`", README)) <= {row.variable for row in documentation()}


def test_help_names_every_setting_with_its_default() -> None:
    text = _settings_text()
    assert [row.variable for row in documentation() if f"  {row.variable}\n" not in text] == []
    assert "Default: 8000." in text
