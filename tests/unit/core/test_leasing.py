"""What a process may start, asks for and gives back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hocket.core.leasing import Rest, Till, Wish


def test_a_call_starts_from_the_lease_that_ends_first_and_never_after_its_end() -> None:
    till = Till()
    till.add(1, 100, 2_000)
    till.add(1, 100, 1_000)
    assert till.take(50, 0)
    assert [(x.requests, x.until_ms) for x in till.leases] == [(0, 1_000), (1, 2_000)]
    assert till.take(50, 1_500)
    assert not till.take(50, 1_500)
    assert not till.take(50, 2_000)


def test_what_a_call_took_too_much_is_owed_and_asked_for_next() -> None:
    till = Till()
    till.add(2, 100, 1_000)
    assert till.take(150, 0)
    assert till.owed == 50
    assert not till.take(10, 1), "no tokens are left"
    assert till.wish(1, 10, 1) == Wish(requests=1, tokens=60)
    till.add(1, 60, 1_000)
    assert till.owed == 0


def test_tokens_that_were_not_used_pay_what_is_owed_and_then_serve_the_next() -> None:
    till = Till()
    till.add(2, 100, 1_000)
    assert till.take(150, 0)
    till.returned(120, 10)
    assert (till.owed, till.leases[0].tokens) == (0, 70)


def test_an_idle_process_asks_only_for_what_waits_and_a_busy_one_ahead() -> None:
    idle = Till()
    assert idle.wish(0, 0, 0) is None
    assert idle.wish(2, 30, 0) == Wish(requests=2, tokens=30)
    busy = Till()
    busy.add(100, 10_000, 60_000)
    for n in range(100):
        assert busy.take(10, 10_000 + 20 * n)
    found = busy.wish(0, 0, 12_000)
    assert found is not None and 30 <= found.requests <= 50, "about the next second of 50 a second, slowly believed"


def test_what_ran_out_or_is_used_up_is_told_once() -> None:
    till = Till()
    till.add(3, 90, 1_000, "a")
    till.add(1, 30, 500, "b")
    assert till.take(30, 0)
    assert till.ended(0) == [Rest(name="b", requests=0, tokens=0)], "used up: it may count less from now"
    assert till.ended(999) == []
    assert till.ended(1_000) == [Rest(name="a", requests=3, tokens=90)]
    assert till.ended(1_001) == []


@given(st.lists(st.tuples(st.sampled_from(("add", "take", "end")), st.integers(0, 50), st.integers(0, 2_000))))
def test_no_more_requests_start_than_were_leased(steps: list[tuple[str, int, int]]) -> None:
    till, now, leased, started, back = Till(), 0, 0, 0, 0
    for what, size, passed in steps:
        now += passed
        if what == "add":
            till.add(size, size * 10, now + 1_000)
            leased += size
        elif what == "take":
            started += till.take(size, now)
        else:
            back += sum(rest.requests for rest in till.ended(now))
    left = sum(x.requests for x in till.leases)
    assert started + back + left <= leased
    assert all(x.requests >= 0 for x in till.leases)
