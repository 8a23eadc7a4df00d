"""A sample keeps identities whole, does not depend on the order of rows, and never grows past its size."""

from __future__ import annotations

import random

import numpy as np
import pytest

from app.services.identity_sample import IdentitySample


def sampled(rows: list[tuple[str, str]], most: int) -> IdentitySample:
    sample = IdentitySample(most)
    for number, (name, identity) in enumerate(rows):
        sample.add(name, identity, np.array([number], np.float32))
        assert sample.rows <= most
    return sample


def kept(rows: list[tuple[str, str]], sample: IdentitySample) -> set[tuple[str, str]]:
    vectors, numbers = sample.arrays()
    found = [rows[int(position)] for position in vectors[:, 0]]
    whose = {int(number): identity for number, (_, identity) in zip(numbers, found, strict=True)}
    assert [whose[int(number)] for number in numbers] == [identity for _, identity in found]
    assert len(whose) == sample.identities
    assert len(set(found)) == sample.rows
    return set(found)


def made(identities: int, *, each: int) -> list[tuple[str, str]]:
    return [(f"{who}-{number}.jpg", f"p{who}") for who in range(identities) for number in range(each)]


def test_a_group_that_fits_is_kept_as_a_whole() -> None:
    rows = made(5, each=4)
    sample = sampled(rows, 20)
    assert kept(rows, sample) == set(rows)
    assert (sample.rows, sample.identities, sample.same_pairs, sample.sampled) == (20, 5, 5 * 6, False)


@pytest.mark.parametrize("seed", range(5))
def test_a_larger_one_gives_whole_identities_whatever_the_order(seed: int) -> None:
    rows = made(40, each=3)
    first = kept(rows, sampled(rows, 50))
    assert 48 <= len(first) <= 50
    assert all(sum(who == identity for _, who in first) == 3 for _, identity in first)
    shuffled = random.Random(seed).sample(rows, len(rows))
    again = sampled(shuffled, 50)
    assert kept(shuffled, again) == first
    assert again.sampled


@pytest.mark.parametrize("seed", range(5))
def test_an_identity_that_would_fill_the_sample_is_cut_to_a_quarter(seed: int) -> None:
    rows = made(1, each=500) + [(f"{number}.jpg", "other") for number in range(3)]
    first = kept(rows, sampled(rows, 40))
    assert len(first) == 10 + 3
    shuffled = random.Random(seed).sample(rows, len(rows))
    again = sampled(shuffled, 40)
    assert kept(shuffled, again) == first
    assert again.sampled


def test_the_smallest_sample_still_has_several_identities() -> None:
    rows = made(20, each=9)
    sample = sampled(rows, 8)
    assert (sample.rows, sample.identities, sample.same_pairs) == (8, 4, 4)
