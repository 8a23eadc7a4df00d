"""Rates by threshold, their intervals, and the thresholds for wanted rates."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.services.error_rates import BINS, ErrorRates, error_rates, wilson
from tests.made_reports import counts_of


def rates_of(same: list[float], different: list[float], *wanted: float, default: float = 0.45) -> ErrorRates:
    return error_rates(counts_of(same), counts_of(different), wanted=wanted, default_threshold=default)


SAME = [0.2, 0.45, 0.9, 0.95, 1.0]
DIFFERENT = [0.0, 0.01, 0.02, 0.1, 0.1, 0.3, 0.449999, 0.45]


def test_the_table_has_round_thresholds_and_the_default_one() -> None:
    table = rates_of(SAME, DIFFERENT).thresholds
    assert [each.threshold for each in table] == pytest.approx([step * 0.05 for step in range(1, 20)])
    assert table[1].threshold == 0.1
    other = rates_of(SAME, DIFFERENT, default=0.42).thresholds
    assert [each.threshold for each in other][7:10] == [0.4, 0.42, 0.45]


def test_rates_are_shares_of_their_own_kind_of_pairs() -> None:
    rates = rates_of(SAME, DIFFERENT)
    at = {each.threshold: (each.false.matches, each.true.matches) for each in rates.thresholds}
    assert (at[0.1], at[0.3], at[0.45], at[0.5], at[0.95]) == ((5, 5), (3, 4), (1, 4), (0, 3), (0, 2))
    found = next(each for each in rates.thresholds if each.threshold == 0.45)
    assert (found.false.rate, found.true.rate) == (1 / 8, 4 / 5)
    assert found.true.interval == wilson(4, 5)


def test_the_threshold_for_a_wanted_rate_is_the_lowest_that_keeps_it() -> None:
    loose, strict = rates_of(SAME, DIFFERENT, 0.5, 0.01).wanted
    assert loose.found is not None
    assert (loose.found.threshold, loose.found.false.matches, loose.reliable) == (0.100001, 3, True)
    assert strict.found is not None
    assert (strict.found.threshold, strict.found.false.matches, strict.reliable) == (0.450001, 0, False)
    assert strict.found.true.rate == 0.6


def test_there_is_no_threshold_where_different_ones_are_certain_to_be_the_same() -> None:
    (wanted,) = rates_of(SAME, [0.1, 1.0], 0.4).wanted
    assert wanted.found is None


@pytest.mark.parametrize(("pairs", "reliable"), [(2999, False), (3000, True), (3001, True)])
def test_a_rate_is_trusted_from_three_times_its_inverse_on(pairs: int, reliable: bool) -> None:
    (wanted,) = rates_of(SAME, [0.1] * pairs, 0.001).wanted
    assert wanted.reliable is reliable


def test_distributions_are_told_in_full() -> None:
    same = rates_of(SAME, DIFFERENT).same
    assert (same.pairs, same.median) == (5, 0.9)
    assert same.mean == pytest.approx(0.7)
    assert (len(same.histogram), sum(same.histogram)) == (BINS, 5)
    assert list(same.percentiles) == sorted(same.percentiles)


def test_the_curve_goes_from_everything_to_what_is_certain() -> None:
    curve = rates_of(SAME, DIFFERENT).curve
    assert (curve[0], curve[-1], len(curve)) == ((0.0, 1.0, 1.0), (1.0, 0.0, 0.2), 201)
    assert (0.45, 1 / 8, 4 / 5) in curve


# Newcombe, Two-Sided Confidence Intervals for the Single Proportion, Statistics in Medicine 17, 1998, table I.
@pytest.mark.parametrize(
    ("matches", "pairs", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_intervals_are_those_of_the_literature(matches: int, pairs: int, low: float, high: float) -> None:
    assert wilson(matches, pairs) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10**9), st.floats(0, 1))
def test_an_interval_holds_the_share_and_stays_within_zero_and_one(pairs: int, share: float) -> None:
    matches = round(share * pairs)
    low, high = wilson(matches, pairs)
    assert 0 <= low <= matches / pairs <= high <= 1
    assert (low == 0) == (matches == 0)
    assert (high == 1) == (matches == pairs)
