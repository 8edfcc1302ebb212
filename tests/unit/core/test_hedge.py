"""core/hedge.py: when to double a call, and how long to wait for one."""

from __future__ import annotations

import pytest

from hocket.core.hedge import KNOWN, delay_ms, patience_ms
from hocket.core.pace import Pace


def pace(*millis: float) -> Pace:
    found = Pace()
    for m in millis:
        found.note(m)
    return found


def test_a_call_is_doubled_at_the_learned_percentile() -> None:
    learned = pace(*[100.0] * 90, *[1_000.0] * 10)
    assert delay_ms(learned, 0.95, None) == pytest.approx(1_000, rel=0.06)
    assert delay_ms(learned, 0.5, None) == pytest.approx(100, rel=0.06)


def test_nothing_is_doubled_when_it_is_off_or_too_little_is_known_or_it_would_end_too_late() -> None:
    learned = pace(*[100.0] * KNOWN)
    assert delay_ms(learned, None, None) is None
    assert delay_ms(pace(*[100.0] * (KNOWN - 1)), 0.9, None) is None
    assert delay_ms(learned, 0.9, 150) is None
    assert delay_ms(learned, 0.9, 300) is not None


def test_patience_is_the_catalogues_until_it_is_learned_and_always_bounded() -> None:
    assert patience_ms(pace(), 1_500, 1_000, 300_000) == 30_000
    assert patience_ms(pace(*[100.0] * KNOWN), 1_500, 10, 300_000) == pytest.approx(400, rel=0.06)
    assert patience_ms(pace(*[100.0] * KNOWN), 1_500, 5_000, 300_000) == 5_000
    assert patience_ms(pace(), 100_000, 1_000, 300_000) == 300_000
