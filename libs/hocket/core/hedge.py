"""When another model is asked beside one that takes too long, and how long a call may take at all. Pure."""

from __future__ import annotations

from hocket.core.pace import Pace

KNOWN = 20
"""Calls that a model must have answered before its quantiles are believed."""


def delay_ms(pace: Pace, percentile: float | None, left_ms: int | None) -> float | None:
    """After how long the same question goes out a second time; None: never.

    The percentile bounds the extra cost: at 0.95 about one call in twenty is doubled, at 0.05 nearly every one. Nothing
    is doubled when a typical second call would not end in the time left.
    """
    wait = pace.quantile(percentile) if percentile is not None and pace.count >= KNOWN else None
    typical = pace.quantile(0.5)
    if wait is None or typical is None or (left_ms is not None and wait + typical >= left_ms):
        return None
    return wait


def patience_ms(pace: Pace, catalogue_ms: int, least_ms: int, most_ms: int) -> int:
    """The longest that a single call is waited for, so that a stalled one does not use up the task's whole time.

    Four times the learned 99th percentile, or twenty times the catalogue's word until enough is learned.
    """
    slow = pace.quantile(0.99) if pace.count >= KNOWN else None
    return min(most_ms, max(least_ms, round(4 * slow if slow is not None else 20 * catalogue_ms)))
