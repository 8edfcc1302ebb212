"""llm/asking.py: retries, one repair, sideways, up; and everything of it in the ledger."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from hocket.contracts.records import Usage
from hocket.llm.asking import Asker, Found
from hocket.llm.base import ModelCall, ModelError
from hocket.llm.tuning import Tuning
from tests.support.asked import CALL, GOOD, HAIKU, LUNA, SONNET, check
from tests.support.scripted import Clock, ScriptedProvider, engines_tried, in_turn, models_of


class Scene:
    def __init__(self, *scripts: Any, deadline_in: int | None = None) -> None:
        self.clock = Clock()
        self.providers = [ScriptedProvider(n, s) for n, s in zip(("anthropic", "openai"), scripts, strict=False)]
        self.asker = Asker(
            models=models_of(*self.providers),
            now_ms=self.clock.now_ms,
            deadline_ms=None if deadline_in is None else self.clock.at_ms + deadline_in,
            sleep=self.clock.sleep,
        )

    async def climb(self, *rungs: str, final: Any = ()) -> Any:
        return await self.asker.climb(rungs, CALL, check, final=final)

    @property
    def tried(self) -> list[tuple[str, str]]:
        return engines_tried(self.asker.ledger.attempts)


async def test_the_first_good_reply_is_taken() -> None:
    scene = Scene(in_turn(GOOD))
    found = await scene.climb("small", "middle")
    assert isinstance(found, Found)
    assert (found.data, found.entry.engine) == (GOOD, HAIKU)
    assert scene.tried == [(HAIKU, "completed")]
    assert len(scene.asker.ledger.usage) == 1


async def test_what_is_retryable_is_retried_twice_on_schedule() -> None:
    scene = Scene(in_turn(ModelError("overloaded", "x"), ModelError("rate_limited", "y", retry_after_ms=3_000), GOOD))
    assert isinstance(await scene.climb("small"), Found)
    assert scene.clock.slept == [0.5, 3.0]
    assert scene.tried == [(HAIKU, "overloaded"), (HAIKU, "rate_limited"), (HAIKU, "completed")]
    assert [a.number for a in scene.asker.ledger.attempts] == [1, 2, 3]


async def test_a_wait_that_took_longer_than_meant_is_followed_by_a_longer_one() -> None:
    scene = Scene(in_turn(ModelError("overloaded", "x"), ModelError("overloaded", "y"), GOOD))

    async def slow(seconds: float) -> None:
        await scene.clock.sleep(seconds)
        scene.clock.at_ms += 1_900  # a busy machine

    scene.asker.sleep = slow
    assert isinstance(await scene.climb("small"), Found)
    assert scene.clock.slept == [0.5, 3.0]


async def test_a_model_that_cannot_be_had_is_replaced_by_the_next_providers() -> None:
    scene = Scene(in_turn(ModelError("quota", "x")), in_turn(GOOD))
    found = await scene.climb("small", "middle")
    assert found.entry.engine == LUNA
    assert scene.clock.slept == []
    assert scene.tried == [(HAIKU, "quota"), (LUNA, "completed")]


async def test_a_reply_that_does_not_fit_is_repaired_once_with_its_faults() -> None:
    scene = Scene(in_turn({}, GOOD))
    assert isinstance(await scene.climb("small"), Found)
    assert scene.tried == [(HAIKU, "malformed"), (HAIKU, "completed")]
    assert "- text: is missing" in scene.providers[0].calls[1].prompt
    assert len(scene.asker.ledger.usage) == 2


async def test_a_reply_without_an_object_is_asked_for_once_more() -> None:
    scene = Scene(in_turn(ModelError("malformed", "did not call t"), GOOD))
    assert isinstance(await scene.climb("small"), Found)
    assert "- did not call t" in scene.providers[0].calls[1].prompt


async def test_rejected_quality_climbs_the_ladder() -> None:
    scene = Scene(in_turn({}, {}, GOOD))
    found = await scene.climb("small", "middle")
    assert found.entry.engine == SONNET
    assert scene.tried == [(HAIKU, "malformed"), (HAIKU, "malformed"), (SONNET, "completed")]


async def test_a_final_kind_ends_the_climb() -> None:
    scene = Scene(in_turn({}), in_turn(GOOD))
    error = await scene.climb("small", "middle", final={"malformed"})
    assert isinstance(error, ModelError)
    assert error.message == f"{HAIKU}: the reply does not fit, even after one repair: text: is missing"
    assert len(scene.providers[0].calls) == 2


async def test_when_all_fail_the_last_failure_is_told() -> None:
    scene = Scene(in_turn(ModelError("auth", "first")), in_turn(ModelError("auth", "last")))
    error = await scene.climb("small")
    assert isinstance(error, ModelError)
    assert error.message == "last"


async def test_without_a_model_there_is_nothing_to_tell() -> None:
    assert await Scene().climb("small", "frontier") is None
    assert await Scene(in_turn(GOOD)).climb("gigantic") is None


async def test_no_retry_and_no_other_model_begins_after_the_deadline() -> None:
    scene = Scene(in_turn(ModelError("unavailable", "x")), in_turn(GOOD), deadline_in=400)
    assert isinstance(await scene.climb("small"), Found), "half a second does not fit, the other provider does"
    assert scene.clock.slept == []

    def late(_: ModelCall) -> ModelError:
        scene.clock.at_ms += 1_000
        return ModelError("timeout", "late")

    scene = Scene(late, in_turn(GOOD), deadline_in=400)
    assert isinstance(await scene.climb("small", "middle"), ModelError)
    assert scene.providers[1].calls == []


async def test_every_call_knows_the_deadline() -> None:
    scene = Scene(in_turn(GOOD), deadline_in=5_000)
    await scene.climb("small")
    assert scene.providers[0].calls[0].deadline_ms == scene.clock.at_ms + 5_000


@pytest.mark.parametrize("kind", ["truncated", "refused"])
async def test_failed_calls_that_cost_tokens_are_in_the_ledger(kind: Any) -> None:
    used = Usage(provider="anthropic", model="m", output_tokens=100)
    scene = Scene(in_turn(ModelError(kind, "x", usage=used), GOOD))
    found = await scene.climb("small", "middle")
    assert found.entry.engine == SONNET
    assert used in scene.asker.ledger.usage
    assert len(scene.asker.ledger.usage) == 2


def long(tokens: int) -> ModelCall:
    return replace(CALL, max_output_tokens=tokens)


async def test_the_last_models_that_are_left_are_asked_to_be_quick() -> None:
    scene = Scene(in_turn(ModelError("auth", "x"), GOOD))
    found = await scene.asker.climb(("small", "middle"), long(4_096), check)
    assert found.fallback
    assert found.why == (
        "middle model, expected 4.0 s, as a fallback (the last models that are left): quick, at most 1024 tokens"
    )
    first, second = scene.providers[0].calls
    assert (first.max_output_tokens, first.prompt) == (4_096, "p")
    assert second.max_output_tokens == 1_024
    assert second.prompt.startswith("p\n\nThis is a fallback: the last models that are left. Be quick")


async def test_a_reply_that_the_fallbacks_limit_cut_off_is_asked_for_at_full_length() -> None:
    scene = Scene(in_turn(ModelError("auth", "x"), ModelError("truncated", "cut"), GOOD))
    found = await scene.asker.climb(("small", "middle"), long(4_096), check)
    assert isinstance(found, Found)
    assert not found.fallback
    assert [c.max_output_tokens for c in scene.providers[0].calls] == [4_096, 1_024, 4_096]
    assert scene.providers[0].calls[2].prompt == "p"


async def test_a_lower_limit_stays_and_what_it_cuts_off_is_not_asked_again() -> None:
    scene = Scene(in_turn(ModelError("auth", "x"), ModelError("truncated", "cut")))
    assert isinstance(await scene.asker.climb(("small", "middle"), long(300), check), ModelError)
    assert [c.max_output_tokens for c in scene.providers[0].calls] == [300, 300]


async def test_with_little_time_left_the_first_model_is_asked_to_be_quick() -> None:
    scene = Scene(in_turn({}, GOOD), deadline_in=1_000)
    found = await scene.asker.climb(("small", "middle"), long(4_096), check)
    assert "as a fallback (little time is left)" in found.why
    assert [c.max_output_tokens for c in scene.providers[0].calls] == [1_024, 1_024]
    assert "Be quick" in scene.providers[0].calls[1].prompt, "the repair keeps the wish"


async def test_a_better_model_that_is_asked_for_its_quality_may_take_its_time() -> None:
    scene = Scene(in_turn({}, {}, GOOD))
    found = await scene.asker.climb(("small", "middle"), long(4_096), check)
    assert (found.entry.engine, found.fallback) == (SONNET, False)
    assert scene.providers[0].calls[2].max_output_tokens == 4_096


class Purse:
    """A gate with so much to spend; notes what it was asked and told."""

    def __init__(self, usd: float) -> None:
        self.usd = usd
        self.log: list[tuple[str, float]] = []

    def left_usd(self) -> float:
        return self.usd

    async def enter(self, bound: Any) -> None:
        if bound.cost_usd > self.usd:
            raise ModelError("over_budget", "nothing left")
        self.usd -= bound.cost_usd
        self.log.append(("enter", bound.cost_usd))

    def leave(self, bound: Any, usage: Usage) -> None:
        self.usd += bound.cost_usd - (usage.cost_usd or 0)
        self.log.append(("leave", usage.cost_usd or 0))


async def test_the_gate_is_asked_with_a_bound_before_and_told_the_truth_after() -> None:
    scene = Scene(in_turn(ModelError("overloaded", "x"), GOOD))
    purse = scene.asker.gate = Purse(1.0)
    assert isinstance(await scene.climb("small"), Found)
    (asked, bound), (told, nothing), _, (_, cost) = purse.log
    assert (asked, told, nothing) == ("enter", "leave", 0)
    assert (bound > 0, cost) == (True, 0.001)
    assert purse.usd == pytest.approx(1.0 - cost)


async def test_what_the_budget_does_not_cover_is_not_called() -> None:
    scene = Scene(in_turn(GOOD))
    scene.asker.gate = Purse(0.000001)
    error = await scene.climb("small", "middle")
    assert isinstance(error, ModelError)
    assert error.kind == "over_budget"
    assert "left)" in error.message
    assert scene.providers[0].calls == []


async def test_what_is_longer_than_a_models_context_is_not_sent_to_it() -> None:
    scene = Scene(in_turn(GOOD), in_turn(GOOD))
    models = scene.asker.models
    models.entries = tuple(
        e.model_copy(update={"context": 8_192 if e.engine == HAIKU else None}) for e in models.entries
    )
    long = replace(CALL, prompt="A line of the contract. " * 4_000)
    found = await scene.asker.climb(["small"], long, check)
    assert isinstance(found, Found)
    assert found.entry.engine == LUNA
    models.entries = tuple(e.model_copy(update={"context": 8_192}) for e in models.entries)
    error = await scene.asker.climb(["small", "middle"], long, check)
    assert isinstance(error, ModelError)
    assert error.kind == "too_long"
    assert "longer than its context" in error.message


async def test_a_doubted_reply_climbs_and_is_kept_for_when_nothing_better_comes() -> None:
    scene = Scene(in_turn(GOOD, ModelError("auth", "x")))
    found = await scene.asker.climb(["small", "middle"], CALL, check, doubt=lambda _: "confidence 0.3 is below 0.6")
    assert isinstance(found, Found)
    assert (found.entry.engine, found.doubt) == (HAIKU, "confidence 0.3 is below 0.6")
    assert scene.tried == [(HAIKU, "completed"), (SONNET, "auth")]


async def test_a_model_that_others_found_away_is_not_called() -> None:
    scene = Scene(in_turn(GOOD), in_turn(GOOD))
    vitals = scene.asker.models.vitals
    for _ in range(5):
        vitals.end(HAIKU, "failed", era=vitals.begin(HAIKU, 0), now_ms=scene.clock.at_ms)
    found = await scene.climb("small")
    assert found.entry.engine == LUNA
    assert scene.asker.passed == (f"{HAIKU} (left alone after failures)",)


async def test_a_retry_after_holds_for_every_task() -> None:
    scene = Scene(in_turn(GOOD))
    scene.asker.chance = lambda: 0.0
    vitals = scene.asker.models.vitals
    at = scene.clock.at_ms
    vitals.end(HAIKU, "succeeded", era=vitals.begin(HAIKU, at), now_ms=at, retry_after_ms=7_000)
    assert isinstance(await scene.climb("small"), Found)
    assert scene.clock.slept == [7.0]


async def test_a_key_that_does_not_do_stops_the_calls_of_all_tasks() -> None:
    provider = ScriptedProvider("anthropic", in_turn(ModelError("auth", "HTTP 401")))
    models = models_of(provider)
    clock = Clock()
    for _ in range(10):
        asker = Asker(models=models, now_ms=clock.now_ms, deadline_ms=clock.at_ms + 1_000, sleep=clock.sleep)
        assert isinstance(await asker.climb(["small"], CALL, check), ModelError)
    assert len(provider.calls) == 1


async def test_the_calls_of_a_task_are_bounded() -> None:
    scene = Scene(in_turn({}), in_turn({}))
    scene.asker.models.tuning = Tuning(max_calls=3)
    assert isinstance(await scene.climb("small", "middle", "frontier"), ModelError)
    assert len(scene.providers[0].calls) <= 4, "a repair that was begun may still be made"
