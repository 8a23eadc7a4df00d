"""Keys: secrets that are told apart, patterns, expiry, rotation, and a file that several processes change at once."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from app.access.key import ApiKey, KeyRole, new_key, parts_of
from app.access.key_file import KeyFile, UnreadableKeys
from app.access.key_ring import KeyRing
from app.access.key_uses import KeyUses
from app.errors import BackendUnavailable, OperatorError, Unauthorized

NOW = datetime.now(UTC)


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "keys.json")


@pytest.fixture
def ring(file: KeyFile, tmp_path: Path) -> KeyRing:
    return KeyRing(file, KeyUses(tmp_path / "uses"))


def added(file: KeyFile, name: str = "door", expires: datetime | None = None) -> tuple[ApiKey, str]:
    key, text = new_key(name, KeyRole.WRITE, ["face/door-*"], expires=expires)
    file.change(lambda keys: keys.update({key.id: key}))
    return key, text


def test_a_key_opens_with_its_secret_alone_and_the_file_does_not_hold_it(file: KeyFile, ring: KeyRing) -> None:
    key, text = added(file)
    assert ring.owner(text) == key
    assert text.split("_", 2)[2] not in file.path.read_text()
    assert file.path.stat().st_mode & 0o777 == 0o600
    other = added(file, "other")[1]
    mixed = f"lk_{key.id}_{other.split('_', 2)[2]}"
    unknown = text.replace(key.id, "0123456789")
    for wrong in ("", "lk_", text[:-1], text + "x", text.upper(), mixed, unknown, f" {text}", "ü" * 57):
        with pytest.raises(Unauthorized):
            ring.owner(wrong)


def test_a_key_that_expired_or_was_revoked_is_refused_at_once(file: KeyFile, ring: KeyRing) -> None:
    expired = added(file, "late", expires=NOW - timedelta(seconds=1))[1]
    with pytest.raises(Unauthorized, match="has expired"):
        ring.owner(expired)
    key, text = added(file)
    assert ring.owner(text) == key
    file.change(lambda keys: keys.update({key.id: msgspec.structs.replace(key, revoked=NOW)}))
    with pytest.raises(Unauthorized, match="was revoked"):
        ring.owner(text)
    file.path.unlink()
    with pytest.raises(Unauthorized, match="no key"):
        ring.owner(text)


def test_a_rotated_key_takes_the_old_secret_only_for_its_grace() -> None:
    key, first = new_key("door", KeyRole.READ, ["*"])
    turned, second = key.rotated(NOW, timedelta(hours=1))
    old, new = (parts_of(text) for text in (first, second))
    assert old is not None
    assert new is not None
    assert turned.id == key.id == new[0]
    assert turned.is_secret(new[1], NOW)
    assert turned.is_secret(old[1], NOW + timedelta(minutes=59))
    assert not turned.is_secret(old[1], NOW + timedelta(minutes=61))
    assert not key.rotated(NOW, timedelta())[0].is_secret(old[1], NOW)


def test_patterns_say_which_groups_and_roles_include_the_lower_ones() -> None:
    key, _ = new_key("door", KeyRole.WRITE, ["face/door-*", "image/cats"])
    assert key.sees("face", "door-north")
    assert key.sees("image", "cats")
    assert not any((key.sees("image", "door-north"), key.sees("face", "doors"), key.sees_every_group))
    assert new_key("all", KeyRole.READ, ["*"])[0].sees_every_group
    assert [KeyRole.WRITE.includes(role) for role in KeyRole] == [True, True, False]
    for wrong in ("door-*", "video/*", "face/", "face/Door", "face/../x"):
        with pytest.raises(OperatorError, match="no pattern"):
            new_key("door", KeyRole.READ, [wrong])


def test_a_file_that_cannot_be_read_lets_nobody_in_until_it_can(file: KeyFile, ring: KeyRing) -> None:
    _, text = added(file)
    good = file.path.read_bytes()
    ring.owner(text)
    for broken in (b"", good[:-9], b'{"version":2,"keys":[]}', b'{"version":1,"keys":[{"id":"x"}]}'):
        file.path.write_bytes(broken)
        with pytest.raises(UnreadableKeys):
            file.read()
        for _ in range(2):
            with pytest.raises(BackendUnavailable):
                ring.owner(text)
    with pytest.raises(OperatorError, match="cannot be read"):
        added(file)
    file.path.write_bytes(good)
    assert ring.owner(text).name == "door"


def test_processes_that_add_keys_at_once_lose_none(file: KeyFile) -> None:
    program = (
        "import sys; from pathlib import Path\n"
        "from app.access.key import KeyRole, new_key; from app.access.key_file import KeyFile\n"
        "for n in range(10):\n"
        "    key, _ = new_key(f'{sys.argv[2]}-{n}', KeyRole.READ, ['*'])\n"
        "    KeyFile(Path(sys.argv[1])).change(lambda keys: keys.update({key.id: key}))\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", program, file.path, str(n)]) for n in range(3)]
    assert [each.wait(60) for each in running] == [0, 0, 0]
    assert {key.name for key in file.read().values()} == {f"{p}-{n}" for p in range(3) for n in range(10)}
    assert {each.name for each in file.path.parent.iterdir()} == {"keys.json", "keys.json.lock"}


def test_the_last_use_is_written_down_lazily(tmp_path: Path) -> None:
    uses = KeyUses(tmp_path / "uses", lazy_s=3600)
    assert uses.last("0123456789") is None
    uses.note("0123456789")
    (tmp_path / "uses" / "0123456789").unlink()
    uses.note("0123456789")
    assert uses.last("0123456789") is None, "it was noted a moment ago"
    KeyUses(tmp_path / "uses").note("0123456789")
    last = uses.last("0123456789")
    assert last is not None
    assert abs((datetime.now(UTC) - last).total_seconds()) < 600
