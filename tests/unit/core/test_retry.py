"""core/retry.py: when to try again, and when to let go."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.core.retry import MAX_WAIT_MS, SCHEDULE_MS, decide, schedule_of


@dataclass
class Failed:
    retryable: bool = True
    retry_after_ms: int | None = None


@pytest.mark.parametrize(("attempt", "wait"), [(1, 500), (2, 2_000), (3, None), (9, None)])
def test_two_retries_after_half_a_second_and_two(attempt: int, wait: int | None) -> None:
    assert decide(Failed(), attempt=attempt, now_ms=0, deadline_ms=None) == wait


def test_what_cannot_succeed_is_not_tried_again() -> None:
    assert decide(Failed(retryable=False, retry_after_ms=1), attempt=1, now_ms=0, deadline_ms=None) is None


@pytest.mark.parametrize(("asked", "wait"), [(100, 500), (700, 700), (MAX_WAIT_MS, MAX_WAIT_MS), (60_001, None)])
def test_retry_after_is_honoured_up_to_a_minute(asked: int, wait: int | None) -> None:
    assert decide(Failed(retry_after_ms=asked), attempt=1, now_ms=0, deadline_ms=None) == wait


@pytest.mark.parametrize(("deadline", "wait"), [(1_500, None), (1_501, 500), (900, None)])
def test_a_wait_that_ends_at_the_deadline_or_later_is_not_begun(deadline: int, wait: int | None) -> None:
    assert decide(Failed(), attempt=1, now_ms=1_000, deadline_ms=deadline) == wait


@pytest.mark.parametrize(
    ("waited", "deadline", "wait"),
    [(600, None, 2_000), (2_000, None, 2_500), (2_000, 2_400, 2_000), (59_000, None, 2_000)],
)
def test_waits_grow_by_what_the_last_one_really_was(waited: int, deadline: int | None, wait: int) -> None:
    assert decide(Failed(), attempt=2, now_ms=0, deadline_ms=deadline, waited_ms=waited) == wait


def test_the_schedule_is_the_callers() -> None:
    assert decide(Failed(), attempt=3, now_ms=0, deadline_ms=None, schedule=(1, 2, 3)) == 3
    assert decide(Failed(), attempt=1, now_ms=0, deadline_ms=None, schedule=()) is None


@given(
    st.booleans(),
    st.none() | st.integers(0, 10**9),
    st.integers(1, 10),
    st.integers(0, 10**12),
    st.none() | st.integers(0, 10**12),
    st.integers(0, 10**6),
)
def test_whatever_comes_a_wait_is_bounded_and_ends_before_the_deadline(
    retryable: bool, asked: int | None, attempt: int, now: int, deadline: int | None, waited: int
) -> None:
    failed = Failed(retryable, asked)
    wait = decide(failed, attempt=attempt, now_ms=now, deadline_ms=deadline, waited_ms=waited)
    if wait is not None:
        assert retryable
        assert attempt <= len(SCHEDULE_MS)
        assert (asked or 0) <= wait <= MAX_WAIT_MS
        assert deadline is None or now + wait < deadline


@pytest.mark.parametrize(
    ("text", "waits"),
    [("", (500, 2_000)), ("exponential", (1_000, 2_000, 4_000)), ("none", ()), ("100", (100,)), ("1, 2,3", (1, 2, 3))],
)
def test_a_schedule_can_be_set(text: str, waits: tuple[int, ...]) -> None:
    assert schedule_of(text) == waits


@pytest.mark.parametrize("text", ["soon", "1,,2", "1,-2", "60001", ",".join(["1"] * 10), "0.5"])
def test_a_schedule_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="give milliseconds such as"):
        schedule_of(text)
