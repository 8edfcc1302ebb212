"""Timers in bounded memory: each fires when it is due, the newest of a key counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.aggregator.timetable import GAP, MAX_RANGES, MINUTE_MS, NEAR_MS, Timetable


def test_the_newest_timer_of_a_key_counts() -> None:
    timers = Timetable()
    timers.put("a", 100, 1, now=0)
    timers.put("a", 50, 2, now=0)
    timers.put("a", 10, 0, now=0)
    timers.put("b", 60, 3, now=0)
    timers.put("b", None, 4, now=0)
    assert timers.next_due() == 50
    assert timers.due(49, 10) == []
    assert timers.due(1_000, 10) == [("a", 50)]
    assert (timers.due(1_000, 10), len(timers)) == ([], 0)


def test_no_more_than_asked_for_and_the_oldest_first() -> None:
    timers = Timetable()
    for n in range(10):
        timers.put(f"k{n}", 100 - n, n, now=0)
    assert timers.due(1_000, 3) == [("k9", 91), ("k8", 92), ("k7", 93)]
    assert len(timers) == 7


def test_far_timers_are_ranges_only_until_their_minute_is_near() -> None:
    timers = Timetable()
    for n in range(50_000):
        timers.put(f"k{n}", 10 * NEAR_MS + n, n, now=0)
    assert (len(timers), timers.minutes) == (0, 1)
    assert timers.coming(9 * NEAR_MS) == []
    assert timers.coming(9 * NEAR_MS + MINUTE_MS) == [(0, 49_999)]
    assert timers.coming(9 * NEAR_MS + MINUTE_MS) == []


def test_what_lies_far_apart_is_not_read_as_one_until_there_are_too_many() -> None:
    timers = Timetable()
    places = [n * 10 * GAP for n in range(MAX_RANGES + 3)]
    for place in places:
        timers.put(f"k{place}", 10 * NEAR_MS, place, now=0)
    found = timers.coming(11 * NEAR_MS)
    assert len(found) == MAX_RANGES
    assert all(any(a <= p <= b for a, b in found) for p in places)


@pytest.mark.parametrize("due_at", [None, 3 * NEAR_MS])
def test_a_record_of_a_range_that_is_not_near_is_left(due_at: int | None) -> None:
    timers = Timetable()
    timers.put("a", 10, 5, now=0)
    timers.put_again("a", due_at, 6, now=0)
    assert timers.due(10, 1) == [("a", 10)]


@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.one_of(st.none(), st.integers(0, 4 * NEAR_MS)), st.integers(0, NEAR_MS // 2)),
        max_size=60,
    ),
    st.integers(0, 60),
)
def test_every_timer_that_stands_fires_when_due(steps: list[tuple[int, int | None, int]], restart: int) -> None:
    """Against the log itself: after any writes, a restart among them, no standing timer is later than its moment."""
    log: list[tuple[str, int | None]] = []
    timers, now, fired = Timetable(), 0, set()

    def tick() -> None:
        for first, last in timers.coming(now):
            for offset in range(first, last + 1):
                timers.put_again(*log[offset], offset, now)
        fired.update(timers.due(now, 1_000))

    for number, (key, ahead, passed) in enumerate(steps):
        log.append((f"k{key}", None if ahead is None else now + ahead))
        if number == restart:
            timers = Timetable()
            for offset, (name, due_at) in enumerate(log):
                timers.put(name, due_at, offset, now)
        else:
            timers.put(*log[-1], len(log) - 1, now)
        now += passed
        tick()
    while now < 40 * NEAR_MS:
        now += MINUTE_MS // 2
        tick()
    standing = {name: due_at for name, due_at in log}  # noqa: C416 - the newest per key
    assert {(k, at) for k, at in standing.items() if at is not None} <= fired
    assert (len(timers), timers.minutes) == (0, 0)
