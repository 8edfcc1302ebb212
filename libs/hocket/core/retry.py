"""Whether and when a failed call is tried again. Pure: the time is an argument, nobody sleeps here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

SCHEDULE_MS = (500, 2_000)
"""Waits before the second and the third try; there is no fourth."""
EXPONENTIAL_MS = (1_000, 2_000, 4_000)
MAX_TRIES = 10
MAX_WAIT_MS = 60_000
"""A provider that asks for a longer pause is left alone: another engine, or the aggregator, takes the task."""
GROWTH = 1.25
"""A wait is so much longer than the last one really was, which others' Retry-After may have lengthened."""


class Failure(Protocol):
    """What the decision needs to know about a failed call."""

    @property
    def retryable(self) -> bool:
        """Whether the same call may succeed later."""

    @property
    def retry_after_ms(self) -> int | None:
        """How long the provider asked to be left alone; None when it did not say."""


def decide(
    failure: Failure,
    *,
    attempt: int,
    now_ms: int,
    deadline_ms: int | None,
    schedule: Sequence[int] = SCHEDULE_MS,
    waited_ms: int = 0,
) -> int | None:
    """Milliseconds to wait before the next try, or None to give up.

    `attempt` is the number of tries made so far, 1 after the first. A provider's Retry-After is honoured when it is
    longer than the schedule's wait; one that ends at or after the deadline, or beyond MAX_WAIT_MS, means giving up at
    once, because the wait could not pay. `waited_ms` is how long the wait before this try really was; the next one is
    longer, unless only the schedule's own wait ends before the deadline.
    """
    if not failure.retryable or attempt > len(schedule):
        return None
    wait = max(schedule[attempt - 1], failure.retry_after_ms or 0)
    if not _fits(wait, now_ms, deadline_ms):
        return None
    grown = max(wait, math.ceil(GROWTH * waited_ms))
    return grown if _fits(grown, now_ms, deadline_ms) else wait


def _fits(wait: int, now_ms: int, deadline_ms: int | None) -> bool:
    return wait <= MAX_WAIT_MS and (deadline_ms is None or now_ms + wait < deadline_ms)


def schedule_of(text: str) -> tuple[int, ...]:
    """The waits that a setting names: milliseconds with commas, `exponential` (1, 2, 4 s), `none`, or nothing said.

    Raises ValueError that says what may stand there.
    """
    said = text.strip().lower()
    if said in ("", "none", "exponential"):
        return {"": SCHEDULE_MS, "none": (), "exponential": EXPONENTIAL_MS}[said]
    waits = tuple(int(part) for part in said.split(",") if part.strip().isdigit())
    if len(waits) != said.count(",") + 1 or len(waits) >= MAX_TRIES or max(waits) > MAX_WAIT_MS:
        raise ValueError(f"{text!r}: give milliseconds such as 500,2000 (each at most {MAX_WAIT_MS}), or exponential")
    return waits
