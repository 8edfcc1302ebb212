"""What the fleet's figures decide."""

from __future__ import annotations

import pytest

from services.aggregator.fleet import STUCK_LEAST_MS, Fleet, SpecialtyView

FAST = SpecialtyView(p50_millis=10, p95_millis=20, workers=1)
SLOW = SpecialtyView(p50_millis=1_000, p95_millis=90_000, workers=2, queue=4, per_second=0.1)
GONE = SpecialtyView(p50_millis=1, p95_millis=2, workers=0)


def test_nothing_is_known_of_nobody() -> None:
    for empty in (Fleet(), Fleet(specialties={"s": GONE}), Fleet(specialties={"s": SpecialtyView(workers=1)})):
        assert empty.expected_millis("s") is None and empty.slow_millis("s") is None
        assert empty.stuck_after("s", seen=True) is None
        assert empty.can_meet("s", 100, 99, "r") and not empty.can_meet("s", 100, 100, "r")
        assert empty.choose("s") == "s"


def test_the_wait_of_an_idle_specialty_is_not_taken_from_its_low_rate() -> None:
    assert SLOW.wait_millis == 2_000  # 4 tasks of 1 s for 2 workers; its rate alone would say 40 s
    busy = SpecialtyView(p50_millis=1_000, workers=1, queue=4, per_second=8.0)
    assert busy.wait_millis == 500
    assert Fleet(specialties={"s": SLOW}).expected_millis("s") == 3_000


def test_patience_grows_with_the_queue_and_the_slowest() -> None:
    fleet = Fleet(specialties={"fast": FAST, "slow": SLOW})
    assert fleet.stuck_after("fast", seen=False) == STUCK_LEAST_MS
    assert fleet.stuck_after("slow", seen=True) == 4 * 90_000 + 4 * 90_000 / 2
    assert fleet.stuck_after("slow", seen=False) is None


@pytest.mark.parametrize(
    ("known", "avoid", "chosen"),
    [
        ({"s": SLOW, "t": FAST}, None, "t"),
        ({"s": FAST, "t": FAST}, None, "s"),
        ({"s": FAST, "t": FAST}, "s", "t"),
        ({"s": FAST, "t": GONE}, "s", "s"),
        ({"s": GONE, "t": FAST}, None, "t"),
        ({"s": GONE, "t": GONE}, None, "s"),
        ({}, "s", "s"),
    ],
)
def test_the_variant_that_ends_first_is_chosen(known: dict[str, SpecialtyView], avoid: str | None, chosen: str) -> None:
    assert Fleet(specialties=known, variants={"s": ("t",)}).choose("s", avoid) == chosen
