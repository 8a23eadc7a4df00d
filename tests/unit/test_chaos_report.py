"""What a chaos run takes for a failure, and what it does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from loadtest.chaos.exchanges import Exchanges
from loadtest.chaos.faults import ALL
from loadtest.chaos.figures import Figures
from loadtest.chaos.report import Report
from loadtest.chaos.rounds import Round
from tests.running_service import Reply

ERROR = {"error": "It is down.", "code": "backend_unavailable", "request_id": "1"}
FIGURES = Figures(descriptors=40, threads=17, memory_mb=200, processes=10, shared=6, files=4)


@pytest.mark.parametrize(
    ("reply", "failures"),
    [
        (None, 0),
        (Reply(200, {}), 0),
        (Reply(503, ERROR, {"Retry-After": "1"}), 0),
        (Reply(504, ERROR), 0),
        (Reply(503, ERROR), 1),
        (Reply(503, {"error": "It is down."}, {"Retry-After": "1"}), 1),
        (Reply(500, ERROR), 1),
    ],
)
def test_answers_are_told_apart(reply: Reply | None, failures: int) -> None:
    exchanges = Exchanges()
    exchanges.note("image/kept/add", reply, 0.5)
    assert len(exchanges.unexpected) == failures
    assert exchanges.statuses == {reply.status if reply else 0: 1}


def test_what_is_lost_wrong_leaked_or_left_behind_is_a_failure() -> None:
    def report(*, lost: list[str], figures: Figures, left: list[str]) -> Report:
        return Report([Round(ALL["milvus-kill"], Exchanges(), 1.5, 9, lost, [], figures)], FIGURES, left, [])

    good = report(lost=[], figures=replace(FIGURES, descriptors=44, memory_mb=230), left=[])
    assert good.failures == []
    assert "| milvus-kill | 1 |" in good.text()
    assert "1.5 s, 1.5 s" in good.text()
    bad = report(lost=["a row"], figures=replace(FIGURES, processes=11, shared=7), left=["process 7"])
    assert bad.failures == [
        "milvus-kill: a row",
        "leaked: 11 processes, and 10 before",
        "leaked: 7 entries of shared memory, and 6 before",
        "process 7",
    ]
