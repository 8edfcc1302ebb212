"""When a transaction ends: at once when nothing is left to read, in good measure under load, never too late."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.aggregator.rhythm import BURST_S, MAX_REST_S, MAX_WAIT_S, REST, Rhythm


def test_a_lone_record_is_committed_as_soon_as_nothing_follows_it() -> None:
    rhythm = Rhythm()
    rhythm.committed(99.0, 99.005)
    rhythm.processed(100.0)
    assert (rhythm.due(100.0), rhythm.wait(100.0, 0.05)) == (False, 0.0)
    rhythm.drained = True
    assert rhythm.due(100.0)


def test_a_flood_is_committed_when_the_first_record_has_waited_long_enough() -> None:
    rhythm = Rhythm()
    rhythm.processed(100.0)
    rhythm.processed(100.04)
    assert not rhythm.due(100.0 + MAX_WAIT_S - 0.001)
    assert rhythm.due(100.0 + MAX_WAIT_S + 0.001)


def committed(rhythm: Rhythm, began: float, took: float) -> float:
    rhythm.processed(began)
    rhythm.committed(began, began + took)
    return began + took


def test_the_few_commits_of_a_lone_request_follow_each_other_at_once() -> None:
    rhythm, now = Rhythm(drained=True), 100.0
    for _ in range(4):
        rhythm.processed(now)
        assert rhythm.due(now)
        now = committed(rhythm, now, 0.01)


def test_when_more_come_each_rests_in_proportion_and_polls_no_longer_than_that() -> None:
    rhythm, now = Rhythm(drained=True), 100.0
    for _ in range(100):
        now = max(now, rhythm.free)
        now = committed(rhythm, now, 0.01)
    rhythm.processed(now)
    assert not rhythm.due(now)
    assert rhythm.wait(now, 0.05) == pytest.approx(0.01 * REST)
    assert rhythm.due(now + 0.01 * REST + 1e-6)


def test_one_slow_commit_does_not_hold_up_the_next_for_long() -> None:
    rhythm = Rhythm(drained=True)
    rhythm.processed(100.0)
    rhythm.committed(100.0, 105.0)
    rhythm.processed(105.0)
    assert rhythm.due(105.0 + MAX_REST_S + 0.001)


def test_an_empty_transaction_is_renewed_rarely_and_polls_wait_long() -> None:
    rhythm = Rhythm(drained=True)
    rhythm.committed(100.0, 100.0)
    assert (rhythm.due(100.5), rhythm.due(101.1), rhythm.wait(100.5, 0.05)) == (False, True, 0.05)


@given(st.lists(st.tuples(st.floats(0, 0.03), st.floats(0.001, 0.03), st.booleans()), min_size=1, max_size=200))
def test_nothing_waits_longer_than_the_wait_and_the_rest_and_commits_leave_time_for_work(
    steps: list[tuple[float, float, bool]],
) -> None:
    """Steps: time until the next record is processed, what a commit takes, whether the input is drained after it."""
    rhythm, now, committing, began = Rhythm(), 0.0, 0.0, 0.0
    for after, takes, drained in steps:
        now += after
        rhythm.processed(now)
        rhythm.drained = drained
        since = rhythm.since
        assert since is not None
        assert now - since <= MAX_WAIT_S + MAX_REST_S + after
        if rhythm.due(now):
            rhythm.committed(now, now + takes)
            now += takes
            committing += takes
    assert committing <= (now - began + BURST_S) / (REST + 1) + 0.031
