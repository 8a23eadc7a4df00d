"""The result file of an import: written line by line, read back after a kill, and never another import's."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from app.commands.journal import Begin, Outcome, Status, open_journal
from app.commands.progress import Progress, duration, progress_text
from app.errors import OperatorError

BEGIN = Begin(family="face", group="crew", source="photos")


def outcome(name: str, status: Status) -> Outcome:
    code, message = ("no_face", "No face.") if status is Status.FAILED else ("", "")
    return Outcome(id=name, status=status, code=code, message=message)


def test_each_line_is_in_the_file_at_once_and_what_is_done_is_known_again(tmp_path: Path) -> None:
    file = tmp_path / "result.jsonl"
    with open_journal(file, BEGIN) as journal:
        assert not journal.resumed
        for number, (name, status) in enumerate([("a", Status.ADDED), ("b", Status.FAILED), ("ü\n", Status.THERE)], 2):
            journal.note(outcome(name, status))
            assert len(file.read_text().splitlines()) == number
        assert [journal.count(status) for status in Status] == [1, 1, 1]
        assert journal.codes == {"no_face": 1}
    assert json.loads(file.read_text().splitlines()[2]) == {
        "id": "b", "status": "failed", "code": "no_face", "message": "No face.",
    }  # fmt: skip
    with open_journal(file, BEGIN) as journal:
        assert journal.resumed
        assert journal.done == {"a", "ü\n"}
        assert journal.count(Status.ADDED) == 0


def test_a_line_that_a_kill_cut_is_dropped_and_written_over(tmp_path: Path) -> None:
    file = tmp_path / "result.jsonl"
    with open_journal(file, BEGIN) as journal:
        journal.note(outcome("a", Status.ADDED))
        journal.note(outcome("b", Status.ADDED))
    whole = file.read_bytes()
    for cut in range(len(whole)):
        file.write_bytes(whole[:cut])
        with open_journal(file, BEGIN) as journal:
            lines = whole[:cut].count(b"\n")
            assert journal.resumed == (lines > 0)
            assert journal.done == set("ab"[: max(0, lines - 1)])
            journal.note(outcome("c", Status.ADDED))
        assert [json.loads(line).get("id") for line in file.read_text().splitlines()] == [
            None,
            *"ab"[: max(0, lines - 1)],
            "c",
        ]


def test_the_file_of_another_import_or_of_nothing_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "result.jsonl"
    with (
        open_journal(file, BEGIN),
        pytest.raises(OperatorError, match="Another import writes"),
        open_journal(file, BEGIN),
    ):
        pass
    with (
        pytest.raises(OperatorError, match="photos into the face group 'crew'"),
        open_journal(file, Begin(family="face", group="other", source="photos")),
    ):
        pass
    with file.open("a") as more:
        more.write("[]\n")
    with pytest.raises(OperatorError, match="no import wrote"), open_journal(file, BEGIN):
        pass
    file.write_text("my diary\n")
    with pytest.raises(OperatorError, match="no result file"), open_journal(file, BEGIN):
        pass
    assert file.read_text() == "my diary\n"
    with pytest.raises(OperatorError, match="cannot be written"), open_journal(tmp_path / "no" / "file", BEGIN):
        pass


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((0, 480, 0, 0.0), "[░░░░░░░░░░░░░░░░░░░░░░░░] 0 of 480"),
        ((120, 480, 2, 4.0), "[██████░░░░░░░░░░░░░░░░░░] 120 of 480, 2 failed, 30.0/s, 0:12 left"),
        ((480, 480, 0, 16.0), "[████████████████████████] 480 of 480, 30.0/s"),
        ((0, 0, 0, 1.0), "[████████████████████████] 0 of 0"),
        ((1000, 1_000_000, 0, 1000.0), "[░░░░░░░░░░░░░░░░░░░░░░░░] 1,000 of 1,000,000, 1.0/s, 277:30:00 left"),
    ],
)
def test_progress_tells_rate_and_time_left(arguments: tuple[int, int, int, float], text: str) -> None:
    assert progress_text(*arguments) == text


def test_what_was_done_before_does_not_count_as_speed() -> None:
    assert progress_text(110, 210, 0, 10.0, started=100).endswith("1.0/s, 1:40 left")
    assert duration(3723.4) == "1:02:03"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_is_written_over_on_a_terminal_and_plain_elsewhere() -> None:
    now = [100.0]
    terminal, plain = Terminal(), io.StringIO()
    shown = [Progress(out, lambda: now[0]) for out in (terminal, plain)]
    for text, seconds in (("one", 0.0), ("two", 0.1), ("three", 11.0)):
        now[0] += seconds
        for each in shown:
            each.show(text)
    for each in shown:
        each.clear()
    assert terminal.getvalue() == "\rone\033[K\rthree\033[K\r\033[K"
    assert plain.getvalue() == "three\n"
