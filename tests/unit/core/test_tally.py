from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.core.tally import Counts, Recent, Tally, quantile

BOUNDS = (10.0, 100.0, 1000.0)


def test_the_first_counts_tell_nothing_yet() -> None:
    assert Tally(BOUNDS).add(Counts(at_ms=0, completed=5, failed=5, limited=2, buckets=(5, 5, 0, 0))) == Recent()


def test_rates_are_those_of_the_window() -> None:
    tally = Tally(BOUNDS, window_ms=10_000)
    tally.add(Counts(at_ms=0, buckets=(0, 0, 0, 0)))
    tally.add(Counts(at_ms=10_000, completed=100, failed=100, limited=1, buckets=(200, 0, 0, 0)))
    now = tally.add(Counts(at_ms=20_000, completed=115, failed=105, limited=1, buckets=(200, 20, 0, 0)))
    assert (now.per_second, now.error_rate, now.rate_limited) == (2.0, 0.25, False)
    assert now.p50_millis == pytest.approx(55)
    assert now.p95_millis == pytest.approx(95.5)


def test_a_provider_that_refused_in_the_window_is_told() -> None:
    tally = Tally(BOUNDS)
    tally.add(Counts(at_ms=0))
    assert tally.add(Counts(at_ms=1_000, limited=1)).rate_limited


def test_it_keeps_no_more_than_it_may() -> None:
    tally = Tally(BOUNDS, window_ms=10**9, most=3)
    for second in range(100):
        now = tally.add(Counts(at_ms=second * 1000, completed=second * second, buckets=(0, 0, 0, 0)))
    assert now.per_second == (99**2 - 97**2) / 2


def test_what_is_above_all_bounds_counts_as_the_last() -> None:
    assert quantile(BOUNDS, (0, 0, 0, 7), 0.5) == 1000
    assert quantile(BOUNDS, (0, 0, 0, 0), 0.5) is None


@given(st.lists(st.integers(0, 50), min_size=4, max_size=4), st.floats(0.01, 0.99))
def test_quantiles_rise_with_the_share_and_stay_within_the_bounds(counts: list[int], share: float) -> None:
    found, median = quantile(BOUNDS, counts, share), quantile(BOUNDS, counts, 0.5)
    if found is None or median is None:
        assert sum(counts) == 0
        return
    assert 0 <= found <= 1000
    assert (found <= median) if share <= 0.5 else (found >= median)
