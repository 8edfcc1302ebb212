"""llm/racing.py through llm/asking.py: a slow call is doubled, a rejected reply gets a second opinion."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from hocket.llm.asking import Asker, Found
from hocket.llm.base import ModelCall
from hocket.llm.tuning import Tuning
from hocket.runtime.clock import now_ms
from tests.support.asked import CALL, GOOD, HAIKU, LUNA, SONNET, check
from tests.support.scripted import ScriptedProvider, engines_tried, in_turn, models_of


class Slow(ScriptedProvider):
    """Answers after a while; notes who was cancelled."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(name, in_turn(GOOD))
        self.seconds, self.cancelled = seconds, 0

    async def call(self, call: ModelCall, on_text: Any = None) -> Any:
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return await super().call(call)


async def test_a_slow_call_is_doubled_the_first_reply_wins_and_the_loser_is_paid_for() -> None:
    slow, quick = Slow("anthropic", 20), Slow("openai", 0.01)
    models = models_of(slow, quick)
    models.tuning = Tuning(hedge=0.9)
    for _ in range(30):
        models.vitals.took(HAIKU, 20)
    asker = Asker(models=models, now_ms=now_ms, deadline_ms=now_ms() + 10_000)
    found = await asker.climb(["small"], CALL, check)
    assert isinstance(found, Found)
    assert slow.cancelled == 1
    lost, won = sorted(asker.ledger.usage, key=lambda u: not u.estimated)
    assert (lost.provider, lost.estimated, won.provider, won.estimated) == ("anthropic", True, "openai", False)
    assert lost.cost_usd is not None
    assert sorted(engines_tried(asker.ledger.attempts)) == [(HAIKU, "cancelled"), (LUNA, "completed")]


async def test_hedging_is_off_unless_it_is_asked_for() -> None:
    slow, quick = Slow("anthropic", 0.2), Slow("openai", 0.01)
    models = models_of(slow, quick)
    for _ in range(30):
        models.vitals.took(HAIKU, 20)
    asker = Asker(models=models, now_ms=now_ms, deadline_ms=now_ms() + 10_000)
    assert isinstance(await asker.climb(["small"], CALL, check), Found)
    assert quick.calls == []


class Replying(ScriptedProvider):
    """Gives its replies in turn: the first after so many seconds, later ones after `then`."""

    def __init__(self, name: str, seconds: float, *replies: Any, then: float | None = None) -> None:
        super().__init__(name, in_turn(*replies))
        self.seconds = seconds
        self.then = seconds if then is None else then

    async def call(self, call: ModelCall, on_text: Any = None) -> Any:
        if on_text is not None:
            on_text("")
            on_text(f"{self.name} ")
        seconds, self.seconds = self.seconds, self.then
        await asyncio.sleep(seconds)
        return await super().call(call)


def racing(*providers: ScriptedProvider, told: list[str] | None = None, **tuning: Any) -> Asker:
    models = models_of(*providers)
    models.tuning = Tuning(**tuning)
    for _ in range(30):
        models.vitals.took(HAIKU, 20)
    on_text = told.append if told is not None else None
    return Asker(models=models, now_ms=now_ms, deadline_ms=now_ms() + 10_000, on_text=on_text)


async def test_a_rejected_reply_is_repaired_while_another_model_of_the_rung_is_asked() -> None:
    first, other = Replying("anthropic", 0, {}, {}, then=9), Replying("openai", 0.01, GOOD)
    asker = racing(first, other)
    found = await asker.climb(["small", "middle"], CALL, check)
    assert isinstance(found, Found)
    assert (found.entry.engine, "beside anthropic" in found.why) == (LUNA, True)
    assert sorted(engines_tried(asker.ledger.attempts)) == [
        (HAIKU, "cancelled"),
        (HAIKU, "malformed"),
        (LUNA, "completed"),
    ]


async def test_a_second_opinion_that_is_no_better_leaves_it_to_the_repair() -> None:
    first, other = Replying("anthropic", 0.05, {}, GOOD), Replying("openai", 0.01, {}, {})
    found = await racing(first, other).climb(["small", "middle"], CALL, check)
    assert isinstance(found, Found)
    assert found.entry.engine == HAIKU


async def test_when_neither_is_usable_the_next_rung_is_asked() -> None:
    first, other = Replying("anthropic", 0.02, {}, {}, GOOD), Replying("openai", 0.01, {}, {})
    found = await racing(first, other).climb(["small", "middle"], CALL, check)
    assert isinstance(found, Found)
    assert found.entry.engine == SONNET


@pytest.mark.parametrize("providers", [1, 2])
async def test_without_a_second_opinion_a_rejected_reply_is_only_repaired(providers: int) -> None:
    """Switched off, or nobody there who could give it."""
    both = [Replying("anthropic", 0.02, {}, GOOD), Replying("openai", 0.01, GOOD)][:providers]
    found = await racing(*both, second_opinion=providers == 1).climb(["small"], CALL, check)
    assert isinstance(found, Found)
    assert found.entry.engine == HAIKU
    assert len(both[0].calls) == 2
    assert all(p.calls == [] for p in both[1:])


async def test_nobody_is_asked_beside_whose_context_is_too_small() -> None:
    first, other = Replying("anthropic", 0.02, {}, GOOD), Replying("openai", 0.01, GOOD)
    asker = racing(first, other)
    asker.models.entries = [
        e.model_copy(update={"context": 1}) if e.engine == LUNA else e for e in asker.models.entries
    ]
    found = await asker.climb(["small"], replace(CALL, prompt="p " * 500), check)
    assert isinstance(found, Found)
    assert found.entry.engine == HAIKU
    assert other.calls == []


async def test_a_streamed_call_is_doubled_too_and_followers_see_one_of_them() -> None:
    told: list[str] = []
    first, other = Replying("anthropic", 5, GOOD), Replying("openai", 0.01, GOOD)
    found = await racing(first, other, told=told, hedge=0.9).climb(["small"], CALL, check)
    assert isinstance(found, Found)
    assert found.entry.engine == LUNA
    assert told == ["", "anthropic "], "the winner's text is told when it is delivered"


async def test_a_hedge_whose_first_reply_is_rejected_wins_nothing() -> None:
    first, other = Replying("anthropic", 0.3, GOOD), Replying("openai", 0.01, {}, {})
    found = await racing(first, other, hedge=0.9).climb(["small"], CALL, check)
    assert isinstance(found, Found)
    assert found.entry.engine == HAIKU
