"""A join that hangs is noticed by the liveness probe; one that waits or rebuilds its tables is left alone."""

from __future__ import annotations

import json

from hocket.runtime.settings import Settings
from services.aggregator.pulse import HUNG_AFTER_S, Pulse
from services.aggregator.vitals import Vitals


def test_nothing_is_expected_before_the_first_round() -> None:
    assert Pulse().moving(1e9, recovering=False)


def test_a_join_that_does_no_round_for_long_hangs_until_it_does_one() -> None:
    pulse = Pulse()
    pulse.beat(100.0)
    assert pulse.moving(100.0 + HUNG_AFTER_S, recovering=False)
    assert not pulse.moving(101.0 + HUNG_AFTER_S, recovering=False)
    pulse.beat(102.0 + HUNG_AFTER_S)
    assert pulse.moving(103.0 + HUNG_AFTER_S, recovering=False)


def test_rebuilding_tables_is_no_hang_and_time_counts_from_its_end() -> None:
    pulse = Pulse()
    pulse.beat(0.0)
    assert pulse.moving(1_000.0, recovering=True)
    assert pulse.moving(1_000.0 + HUNG_AFTER_S, recovering=False)
    assert not pulse.moving(1_001.0 + HUNG_AFTER_S, recovering=False)


def test_the_probe_fails_when_the_join_hangs() -> None:
    pulse, now = Pulse(), 0.0
    vitals = Vitals(Settings(instance="a"))
    assert vitals.health.answer("GET", "/live")[0] == 200, "before the join runs"
    vitals.watch(list, dict, lambda: pulse.moving(now, recovering=False))
    pulse.beat(now)
    assert vitals.health.answer("GET", "/live")[0] == 200
    now = HUNG_AFTER_S + 1
    status, _, body = vitals.health.answer("GET", "/live")
    assert (status, json.loads(body)) == (503, {"live": False, "checks": {"join": False}})
