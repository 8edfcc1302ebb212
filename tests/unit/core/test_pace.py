from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.core.pace import Pace, allowance


def fed(*millis, **settings):
    pace = Pace(**settings)
    for value in millis:
        pace.note(value)
    return pace


def test_nothing_is_claimed_before_the_first_note():
    pace = Pace()
    assert (pace.count, pace.mean, pace.quantile(0.5)) == (0, None, None)


@given(
    st.lists(st.floats(min_value=0, max_value=86_400_000), min_size=1, max_size=200),
    st.floats(min_value=0, max_value=1),
)
def test_a_quantile_is_within_five_per_cent_or_one_millisecond_of_a_noted_value(values, q):
    """With no noticeable decay the exact answer is the smallest value that has a share q at or below it."""
    pace = fed(*values, half_life=10**12)
    rank = max(1, math.ceil(q * len(values) - 1e-6))
    near = {rank, min(len(values), rank + 1)}  # the decay moves a boundary by less than one rank
    exact = [sorted(values)[r - 1] for r in near]
    assert any(abs(pace.quantile(q) - value) <= max(1.0, 0.05 * value) for value in exact)


@given(st.lists(st.floats(min_value=0, max_value=1e9), min_size=1, max_size=100))
def test_quantiles_rise_and_the_mean_lies_between_the_extremes(values):
    pace = fed(*values)
    quantiles = [pace.quantile(q / 10) for q in range(11)]
    assert quantiles == sorted(quantiles)
    assert min(values) * (1 - 1e-9) <= pace.mean <= max(values) * (1 + 1e-9)


def test_half_of_the_weight_is_gone_after_a_half_life():
    pace = fed(*[1000.0] * 1000, *[3000.0] * 100, half_life=100)
    assert pace.mean == pytest.approx(2000, rel=0.01)
    assert pace.quantile(0.45) == pytest.approx(1000, rel=0.05)
    assert pace.quantile(0.55) == pytest.approx(3000, rel=0.05)


def test_many_notes_keep_memory_and_accuracy():
    rng = random.Random(7)
    pace = Pace(half_life=1000)
    size = len(pace._weights)
    for _ in range(100_000):
        pace.note(rng.lognormvariate(7, 0.5))
    assert pace.count == 100_000
    assert len(pace._weights) == size
    assert pace._weight <= 1e12
    assert pace.quantile(0.5) == pytest.approx(
        math.exp(7), rel=0.12
    )  # 5 % of the buckets and the noise of 1,400 samples
    assert pace.mean == pytest.approx(math.exp(7 + 0.125), rel=0.07)


def test_longer_than_a_day_counts_as_a_day():
    assert fed(1e12).quantile(0.5) == pytest.approx(86_400_000, rel=0.05)


@pytest.mark.parametrize("millis", [-1, math.inf, math.nan])
def test_what_is_no_duration_is_refused(millis):
    pace = Pace()
    with pytest.raises(ValueError, match="monotonic"):
        pace.note(millis)
    assert pace.count == 0


@pytest.mark.parametrize("q", [-0.1, 1.1])
def test_what_is_no_quantile_is_refused(q):
    with pytest.raises(ValueError, match="between 0 and 1"):
        Pace().quantile(q)


@pytest.mark.parametrize("wrong", [{"half_life": 0}, {"fast": 1.5}, {"known": 0}, {"probe_ms": -1}], ids=str)
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        Pace(**wrong)


def test_a_task_without_deadline_always_starts():
    assert fed(*[1e6] * 50).can_meet(None, 0)


def test_a_deadline_that_passed_is_never_met_even_if_nothing_is_known():
    assert not Pace().can_meet(1000, 1000)


def test_while_too_little_is_known_a_task_starts():
    assert fed(*[60_000] * 19).can_meet(1, 0)
    assert not fed(*[60_000] * 20).can_meet(1, 0)


def test_only_what_even_a_fast_call_cannot_meet_is_refused():
    pace = fed(*[10_000] * 80, *[1000] * 20)  # one in five is fast
    assert pace.can_meet(1100, 0)
    assert not pace.can_meet(900, 0)


@given(st.integers(min_value=1, max_value=100_000), st.integers(min_value=1, max_value=100_000))
def test_more_time_never_turns_yes_into_no(left, more):
    def verdict(deadline):
        return fed(*range(1, 50_001, 1000)).can_meet(deadline, 0)

    assert not verdict(left) or verdict(left + more)


def test_a_probe_goes_when_nothing_was_learned_for_a_while():
    pace = fed(*[60_000] * 50, probe_ms=5000)
    verdicts = {now for now in range(0, 20_001, 500) if pace.can_meet(now + 1000, now)}
    assert verdicts == {5000, 10_000, 15_000, 20_000}


def test_probes_find_a_recovery():
    """A provider was slow, so everything is refused; it is fast again: within two minutes everything starts."""
    pace, now, probes = fed(*[60_000] * 500), 0, 0
    while not all(pace.can_meet(now + 5000, now) for _ in range(3)):
        now += 100
        if pace.can_meet(now + 5000, now):
            pace.note(800)
            probes += 1
        assert now < 120_000
    assert probes <= 20


def test_a_sick_worker_starts_ever_less_and_recovers_by_doubling():
    seen, limit = [], None
    for fine, troubled in [
        (10, 2),
        (3, 4),
        (1, 9),
        (0, 9),
        (0, 2),
        (0, 0),
        (0, 1),
        (0, 1),
        (1, 0),
        (2, 0),
        (4, 1),
        (8, 0),
    ]:
        limit = allowance(limit, fine=fine, troubled=troubled, most=16)
        seen.append(limit)
    assert seen == [None, None, 8, 4, 2, 2, 1, 1, 2, 4, 8, None]


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 50)), max_size=60), st.integers(1, 1_000))
def test_the_allowance_is_never_none_of_it_and_never_above_the_most(outcomes, most):
    limit = None
    for fine, troubled in outcomes:
        limit = allowance(limit, fine=fine, troubled=troubled, most=most)
        assert limit is None or 1 <= limit <= most
