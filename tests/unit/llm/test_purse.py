"""A task's share is kept: whatever calls run at once, however they end."""

from __future__ import annotations

import asyncio
import contextlib
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hocket.contracts.records import Usage
from hocket.llm.base import ModelCall, ModelError
from hocket.llm.catalogue import Entry
from hocket.llm.gate import LEAST_PART, Bound, bound_of, frame_of, within
from hocket.llm.purse import Purse
from hocket.llm.vitals import Vitals


def bound(cost: float | None) -> Bound:
    return Bound(engine="p/m", provider="p", rung="small", input_tokens=100, output_tokens=10, cost_usd=cost)


def used(cost: float | None) -> Usage:
    return Usage(provider="p", model="m", cost_usd=cost)


async def test_the_bound_is_set_aside_and_the_price_takes_its_place() -> None:
    purse, call = Purse(1.0), bound(0.6)
    await purse.enter(call)
    assert purse.left_usd() == pytest.approx(0.4)
    purse.leave(call, used(0.1))
    assert (purse.left_usd(), purse.spent_usd, purse.reserved_usd) == (pytest.approx(0.9), 0.1, 0.0)


@pytest.mark.parametrize(("cost", "word"), [(0.5, r"\$0.4000"), (None, "HOCKET_PRICES")])
async def test_what_does_not_fit_or_has_no_price_is_refused(cost: float | None, word: str) -> None:
    purse = Purse(1.0)
    await purse.enter(bound(0.6))
    with pytest.raises(ModelError, match=word) as refused:
        await purse.enter(bound(cost))
    assert (refused.value.kind, refused.value.retryable) == ("over_budget", False)


async def test_without_a_budget_everything_passes_and_nothing_is_counted() -> None:
    purse, call = Purse(None), bound(None)
    await purse.enter(call)
    purse.leave(call, used(None))
    assert (purse.left_usd(), purse.spent_usd) == (None, 0.0)


class Slow:
    """A rate that lets nobody in."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def acquire(self, bound: Bound) -> None:
        await asyncio.Event().wait()

    def used(self, bound: Bound, usage: Usage) -> None:
        self.told.append(bound)


async def test_a_cancelled_wait_for_the_rate_gives_the_money_back() -> None:
    rate = Slow()
    purse = Purse(1.0, rate)
    waiting = asyncio.create_task(purse.enter(bound(0.9)))
    await asyncio.sleep(0)
    assert purse.left_usd() == pytest.approx(0.1)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    assert (purse.left_usd(), rate.told) == (1.0, [])


async def test_200_calls_at_once_never_spend_more_than_there_is() -> None:
    dice, purse, real = random.Random(5), Purse(1.0), 0.0

    async def call() -> None:
        nonlocal real
        most = bound(dice.uniform(0.001, 0.05))
        try:
            await purse.enter(most)
        except ModelError:
            return
        assert most.cost_usd is not None
        await asyncio.sleep(dice.uniform(0, 0.01))
        cost = most.cost_usd * dice.choice((0.1, 0.5, 1.0))
        real += cost
        purse.leave(most, used(cost))

    async def patient() -> None:
        for _ in range(5):
            await call()

    await asyncio.gather(*(patient() for _ in range(200)))
    assert 0.9 < real <= 1.0
    assert purse.spent_usd == pytest.approx(real)


CALL = ModelCall(
    model="m",
    system="System. " * 100,
    prompt="Prompt.",
    tool_name="t",
    tool_description="d",
    tool_schema={},
    max_output_tokens=1_000,
)
ENTRY = Entry.model_validate(
    {"provider": "anthropic", "id": "m", "alias": "small", "input_usd": 1.0, "output_usd": 1.0, "cache_write_usd": 1.25}
)


def test_a_frame_that_was_billed_before_is_bounded_by_that() -> None:
    unknown, known = bound_of(ENTRY, CALL, at_ms=0), bound_of(ENTRY, CALL, at_ms=0, seen=300)
    assert unknown.input_tokens > 1_500
    assert known.input_tokens == 300 + len("Prompt.")
    assert known.cost_usd == pytest.approx((300 * 1.25 + 7 + 1_000) / 1_000_000), "only the frame is written to a cache"
    assert bound_of(ENTRY, CALL, at_ms=0, seen=100_000) == unknown


def test_what_a_frame_was_billed_at_least_is_remembered_by_model() -> None:
    vitals, frame = Vitals(), frame_of(CALL)
    assert frame == frame_of(replace(CALL, prompt="Another.", max_output_tokens=1))
    assert frame != frame_of(replace(CALL, system="Another."))
    for tokens in (400, 300, 0, 500):
        vitals.billed("p/m", frame, tokens)
    assert (vitals.seen("p/m", frame), vitals.seen("p/n", frame)) == (300, None)


@given(st.floats(0, 0.01), st.integers(1, 5_000))
def test_a_lowered_call_keeps_within_what_is_left_and_tells_the_model(left: float, limit: int) -> None:
    call = replace(CALL, max_output_tokens=limit)
    found = within(ENTRY, call, left, at_ms=0)
    if found != call:
        assert int(limit * LEAST_PART) <= found.max_output_tokens < limit
        assert f"At most {found.max_output_tokens} tokens" in found.prompt
        cost = bound_of(ENTRY, found, at_ms=0).cost_usd
        assert cost is not None and cost <= left
