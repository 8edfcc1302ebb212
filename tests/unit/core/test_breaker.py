"""core/breaker.py: a model that fails is left alone, tried by one, and taken back; a rest is kept whatever happens."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.core.breaker import MAX_REST_MS, Breaker, Rules, admits, begun, ended, free_at, rested

RULES = Rules(failures=3, open_ms=1_000, max_open_ms=3_000)


def after(*endings: Any, now: int = 0) -> Breaker:
    b = Breaker()
    for ending in endings:
        b = ended(begun(b, now), ending, era=b.era, now_ms=now, rules=RULES)
    return b


def failed_probe(b: Breaker, now: int) -> Breaker:
    b = begun(b, now)
    return ended(b, "failed", era=b.era, now_ms=now, rules=RULES)


def test_it_opens_after_so_many_failures_in_a_row_and_not_before() -> None:
    assert after("failed", "failed").state == "closed"
    assert after("failed", "failed", "succeeded", "failed", "failed").state == "closed"
    b = after("failed", "failed", "failed", now=10)
    assert (b.state, free_at(b, 10)) == ("open", 1_010)


def test_the_failures_that_come_first_of_many_calls_do_not_open_it() -> None:
    b = Breaker()
    for _ in range(100):
        b = begun(b, 0)
    for _ in range(20):  # one in five fails, and fails at once; replies take seconds
        b = ended(b, "failed", era=b.era, now_ms=1, rules=RULES)
    assert (b.state, b.failures, b.out) == ("closed", 20, 80)
    b = ended(b, "succeeded", era=b.era, now_ms=2_000, rules=RULES)
    assert (b.failures, b.out) == (0, 79)


def test_when_all_of_many_calls_fail_it_opens_after_half_of_them() -> None:
    b = Breaker()
    for _ in range(100):
        b = begun(b, 0)
    failed = 0
    while b.state == "closed":
        b = ended(b, "failed", era=b.era, now_ms=1, rules=RULES)
        failed += 1
    assert (failed, b.out) == (50, 0)


def test_calls_that_are_given_up_are_not_out_any_more() -> None:
    b = begun(begun(Breaker(), 0), 0)
    b = ended(ended(b, "given_up", era=0, now_ms=1, rules=RULES), "given_up", era=0, now_ms=1, rules=RULES)
    assert (b.state, b.out) == ("closed", 0)


def test_a_key_or_credit_that_does_not_do_opens_it_at_once_for_the_longest_time() -> None:
    assert free_at(after("blocked"), 0) == 3_000


def test_one_call_probes_the_others_wait_and_its_success_closes() -> None:
    b = begun(after("failed", "failed", "failed"), 1_000)
    assert (b.state, free_at(b, 1_000)) == ("half_open", None)
    b = ended(b, "succeeded", era=b.era, now_ms=1_100, rules=RULES)
    assert (b.state, b.failures, admits(b, 1_100)) == ("closed", 0, True)


def test_each_failed_probe_doubles_the_time_up_to_a_bound() -> None:
    b = after("failed", "failed", "failed")
    waits = []
    for _ in range(4):
        b = failed_probe(b, b.until_ms)
        waits.append(b.open_ms)
    assert waits == [2_000, 3_000, 3_000, 3_000]


def test_a_probe_that_is_given_up_lets_another_one_go() -> None:
    b = begun(after("failed", "failed", "failed"), 1_000)
    b = ended(b, "given_up", era=b.era, now_ms=1_001, rules=RULES)
    assert (b.state, admits(b, 1_001)) == ("half_open", True)


def test_calls_from_before_the_last_change_are_not_heard() -> None:
    b = after("failed", "failed", "failed")
    assert ended(b, "succeeded", era=b.era - 1, now_ms=5, rules=RULES) == b


def test_a_rest_holds_whatever_the_calls_say_and_a_shorter_one_does_not_end_it() -> None:
    b = rested(after("succeeded"), 500, 100)
    assert (admits(b, 599), admits(b, 600)) == (False, True)
    assert free_at(rested(b, 10, 200), 200) == 600
    assert free_at(ended(b, "succeeded", era=b.era, now_ms=150, rules=RULES), 150) == 600
    assert free_at(rested(Breaker(), 10**12, 0), 0) == MAX_REST_MS


def test_no_call_begins_while_none_may() -> None:
    with pytest.raises(ValueError, match="no call may begin at 0"):
        begun(after("blocked"), 0)


@pytest.mark.parametrize("wrong", [{"failures": 0}, {"open_ms": 0}, {"open_ms": 2, "max_open_ms": 1}])
def test_rules_that_could_never_work_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        Rules(**wrong)


STEPS = st.lists(
    st.tuples(st.integers(0, 2_000), st.sampled_from(["begin", "succeeded", "failed", "blocked", "given_up", "rest"])),
    max_size=60,
)


@given(STEPS)
def test_whatever_happens_at_most_one_probe_is_out_rests_are_kept_and_it_recovers(steps: list[tuple[int, str]]) -> None:
    b, now, rest_until = Breaker(), 0, 0
    running: list[int] = []
    for passed, step in steps:
        now += passed
        if step == "begin":
            if admits(b, now):
                assert now >= rest_until
                assert not b.probing
                b = begun(b, now)
                running.append(b.era)
        elif step == "rest":
            b, rest_until = rested(b, 700, now), max(rest_until, now + 700)
        elif running:
            b = ended(b, step, era=running.pop(0), now_ms=now, rules=RULES)
        assert b.probing <= (b.state == "half_open")
        assert b.open_ms <= RULES.max_open_ms
    while running:
        b = ended(b, "given_up", era=running.pop(), now_ms=now, rules=RULES)
    free = free_at(b, now)
    assert free is not None, "nothing runs, so nothing may be held for ever"
    b = begun(b, free)
    assert ended(b, "succeeded", era=b.era, now_ms=free, rules=RULES).state == "closed"
