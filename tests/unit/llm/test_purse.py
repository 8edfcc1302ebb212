"""A task's share is kept: whatever calls run at once, however they end."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Any

import pytest

from hocket.contracts.records import Usage
from hocket.llm.base import ModelError
from hocket.llm.gate import Bound
from hocket.llm.purse import Purse


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
