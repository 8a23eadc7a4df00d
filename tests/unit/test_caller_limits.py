"""How often and how much at once a caller may ask."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from app.access.caller import Caller
from app.access.key import KeyRole, new_key
from app.access.rates import CallerLimits
from app.config import Settings
from app.errors import RateLimited


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def limited(**settings: Any) -> tuple[CallerLimits, Clock]:
    clock = Clock()
    return CallerLimits(replace(Settings(), **settings), clock), clock


def caller(name: str, rate: float | None = None, parallel: int | None = None) -> Caller:
    return Caller("192.0.2.1", new_key(name, KeyRole.READ, ["*"], rate=rate, parallel=parallel)[0])


def asked(limits: CallerLimits, who: Caller, times: int) -> int:
    """How many of so many requests, one after the other, are let in."""
    let_in = 0
    for _ in range(times):
        try:
            with limits.turn(who):
                let_in += 1
        except RateLimited:
            pass
    return let_in


def test_a_key_has_a_burst_and_then_its_rate_and_leaves_others_theirs() -> None:
    limits, clock = limited(key_rate=2, rate_burst=5)
    ada, bob = caller("ada"), caller("bob")
    assert asked(limits, ada, 20) == 5
    clock.now += 1.5
    assert asked(limits, ada, 20) == 3
    clock.now += 3600
    assert asked(limits, ada, 20) == 5, "tokens beyond the burst are not saved up"
    assert asked(limits, bob, 20) == 5


def test_a_refusal_says_when_to_come_again() -> None:
    limits, clock = limited(key_rate=0.1, rate_burst=1)
    ada = caller("ada")
    assert asked(limits, ada, 1) == 1
    with pytest.raises(RateLimited) as refused, limits.turn(ada):
        pass
    assert (refused.value.status, refused.value.retry_after) == (429, 10)
    clock.now += refused.value.retry_after
    assert asked(limits, ada, 2) == 1


def test_requests_at_the_same_time_are_limited_and_counted_out_whatever_happens() -> None:
    limits, _ = limited(key_requests=2)
    ada = caller("ada")
    with ExitStack() as working:
        for _ in range(2):
            working.enter_context(limits.turn(ada))
        assert asked(limits, ada, 1) == 0
        assert asked(limits, caller("bob"), 1) == 1
    with pytest.raises(ZeroDivisionError), limits.turn(ada):
        raise ZeroDivisionError
    with limits.turn(ada):
        assert asked(limits, ada, 1) == 1


def test_a_key_may_have_limits_of_its_own_and_addresses_theirs() -> None:
    limits, _ = limited(key_rate=1, rate_burst=1, address_rate=1, address_requests=1)
    assert asked(limits, caller("fast", rate=0), 50) == 50
    assert asked(limits, caller("wide", rate=3), 50) == 3
    assert asked(limits, Caller("192.0.2.1"), 50) == 1
    assert asked(limits, Caller("192.0.2.2"), 50) == 1
    narrow = caller("narrow", rate=0, parallel=1)
    with limits.turn(narrow):
        assert asked(limits, narrow, 1) == 0
