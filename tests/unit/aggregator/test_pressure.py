"""Pressure: the aggregator's own backlog in seconds, with patience both ways."""

from __future__ import annotations

from services.aggregator.pressure import CALM_LOOKS, Pressure


def test_it_comes_on_after_two_looks_and_goes_after_a_calm_while() -> None:
    pressure = Pressure()
    assert [pressure.look(600, 1_000, 1.0) for _ in range(2)] == [False, True]
    assert pressure.on
    assert [pressure.look(50, 1_000, 1.0) for _ in range(CALM_LOOKS)] == [False] * (CALM_LOOKS - 1) + [True]
    assert not pressure.on


def test_one_burst_or_a_quick_join_is_no_pressure() -> None:
    pressure = Pressure()
    for waiting in (600, 10, 600, 10, 400, 400):
        assert not pressure.look(waiting, 1_000, 1.0)
    assert not pressure.on


def test_a_join_that_stands_still_is_behind_only_when_much_waits() -> None:
    pressure = Pressure()
    assert not any(pressure.look(20, 0, 1.0) for _ in range(5))
    assert [pressure.look(100, 0, 1.0) for _ in range(2)] == [False, True]
