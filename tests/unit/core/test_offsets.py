from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.core.donemap import DoneMap, Flight
from hocket.core.offsets import Offsets


def test_nothing_is_committable_before_anything_is_known():
    assert Offsets().committable() is None


def test_the_lowest_unfinished_offset_holds_the_commit():
    tracker = Offsets()
    for offset in (5, 6, 7):
        tracker.received(offset)
    tracker.done(7)
    tracker.done(6)
    assert tracker.committable() == 5
    tracker.done(5)
    assert tracker.committable() == 8
    assert tracker.outstanding == 0


def test_gaps_that_were_never_delivered_hold_nothing_up():
    tracker = Offsets()
    tracker.received(3)
    tracker.received(9)
    tracker.done(3)
    assert tracker.committable() == 9


def test_the_position_counts_only_when_nothing_is_outstanding():
    tracker = Offsets()
    tracker.received(3)
    tracker.advanced(10)
    assert tracker.committable() == 3
    tracker.done(3)
    assert tracker.committable() == 10


def test_the_position_of_an_empty_partition_is_committable():
    tracker = Offsets()
    tracker.advanced(0)
    assert tracker.committable() == 0


def test_done_twice_is_harmless():
    tracker = Offsets()
    tracker.received(1)
    tracker.received(2)
    tracker.done(2)
    tracker.done(2)
    tracker.done(1)
    tracker.done(1)
    assert tracker.committable() == 3


@pytest.mark.parametrize("offset", [4, 5])
def test_an_offset_that_does_not_rise_is_refused(offset):
    tracker = Offsets()
    tracker.received(5)
    with pytest.raises(ValueError, match="delivered after 5"):
        tracker.received(offset)
    assert tracker.outstanding == 1


def test_finishing_what_was_never_delivered_is_refused():
    tracker = Offsets()
    with pytest.raises(ValueError, match="never delivered"):
        tracker.done(0)
    tracker.received(1)
    with pytest.raises(ValueError, match="never delivered"):
        tracker.done(2)


@st.composite
def histories(draw):
    """Rising offsets with gaps, and an order in which some of them finish, each after its delivery."""
    steps = draw(st.lists(st.integers(min_value=1, max_value=5), min_size=1, max_size=60))
    offsets, at = [], draw(st.integers(min_value=0, max_value=1000))
    for step in steps:
        offsets.append(at)
        at += step
    return offsets, draw(st.permutations(offsets)), draw(st.integers(min_value=0, max_value=len(offsets)))


@given(histories(), st.data())
def test_laws(history, data):
    offsets, order, finished = history
    tracker, delivered, done, pending = Offsets(), [], set(), list(order[:finished])
    arrivals, last = list(offsets), None
    while arrivals or pending:
        ready = [o for o in pending if o in delivered]
        if arrivals and (not ready or data.draw(st.booleans())):
            delivered.append(arrivals.pop(0))
            tracker.received(delivered[-1])
        else:
            pending.remove(ready[0])
            done.add(ready[0])
            tracker.done(ready[0])
        now = tracker.committable()
        unfinished = [o for o in delivered if o not in done]
        assert now == (min(unfinished) if unfinished else delivered[-1] + 1)
        assert last is None or now >= last
        assert tracker.outstanding == len(unfinished)
        last = now


def test_what_the_predecessor_has_done_is_not_work_any_more():
    tracker = Offsets(DoneMap(base=3, top=8, open={3: None, 6: Flight(owner="a.1", deliveries=2)}))
    assert tracker.committable() == 3
    assert [tracker.received(o) for o in (3, 4, 5, 6, 7, 8)] == [True, False, False, True, False, True]
    tracker.done(3)
    assert tracker.committable() == 6
    assert tracker.standing({}) == DoneMap(base=6, top=9, open={6: None, 8: None})
    tracker.done(6)
    tracker.done(8)
    assert tracker.committable() == 9


def test_what_is_not_delivered_yet_stays_in_the_map():
    flight = Flight(owner="a.1", deliveries=2)
    tracker = Offsets(DoneMap(base=3, top=8, open={3: None, 6: flight}))
    assert tracker.received(3)
    assert tracker.standing({6: flight}, "me.2") == DoneMap(base=3, top=8, open={3: None, 6: flight}, holder="me.2")
    tracker.done(3)
    assert tracker.committable() == 6


def test_before_anything_is_known_nothing_stands():
    assert Offsets().standing({}) is None


def test_memory_is_given_back_while_the_lowest_is_unfinished():
    tracker = Offsets()
    for offset in range(10_000):
        tracker.received(offset)
        if offset:
            tracker.done(offset)
    assert len(tracker._order) < 1_100
    assert tracker.standing({}) == DoneMap(base=0, top=10_000, open={0: None})


def test_an_inherited_gap_is_passed_with_the_position():
    tracker = Offsets(DoneMap(base=3, top=8, open={5: None}))
    tracker.advanced(8)
    assert tracker.committable() == 8
