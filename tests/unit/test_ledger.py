"""The ledger allows exactly what an order of the booked writes explains."""

from __future__ import annotations

from loadtest.ledger import Ledger


def test_what_was_never_written_is_absent() -> None:
    ledger = Ledger[int]()
    assert ledger.allowed("a", ledger.now()) == {None}


def test_a_write_under_way_may_be_seen_or_not_and_an_answered_one_must() -> None:
    ledger = Ledger[int]()
    write = ledger.begin("a", 1)
    assert ledger.allowed("a", ledger.now()) == {None, 1}
    sent = ledger.now()
    ledger.answered(write)
    assert ledger.allowed("a", ledger.now()) == {1}
    assert ledger.allowed("a", sent) == {None, 1}, "a read that was sent before the answer"


def test_a_refused_write_is_never_seen_and_an_unanswered_one_stays_possible() -> None:
    ledger = Ledger[int]()
    ledger.answered(ledger.begin("a", 1))
    ledger.refused(ledger.begin("a", 2))
    ledger.begin("a", None)
    assert ledger.allowed("a", ledger.now()) == {1, None}
    ledger.answered(ledger.begin("a", 3))
    assert ledger.allowed("a", ledger.now()) == {3}


def test_of_writes_at_once_the_answered_one_counts_when_the_others_are_refused() -> None:
    ledger = Ledger[int]()
    first, second = ledger.begin("a", 1), ledger.begin("a", 2)
    ledger.answered(first)
    assert ledger.allowed("a", ledger.now()) == {1, 2}
    ledger.refused(second)
    assert ledger.allowed("a", ledger.now()) == {1}


def test_what_somebody_saw_in_quiet_is_settled() -> None:
    ledger = Ledger[int]()
    ledger.begin("a", 1)
    ledger.settle("a", None)
    assert ledger.allowed("a", ledger.now()) == {None}
    assert list(ledger.booked()) == ["a"]
