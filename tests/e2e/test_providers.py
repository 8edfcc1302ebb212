"""Both real SDKs over real sockets: against a scripted provider, and against llmock, which judges the client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hocket.contracts.specialties import load_specialties
from hocket.core.work import Document, Work
from hocket.llm.asking import Asker, Found
from hocket.llm.base import ModelCall, ModelError
from hocket.llm.catalogue import Entry
from hocket.llm.models import Models
from hocket.runtime.clock import now_ms
from services.workers.engine import Engines
from tests.support.simulated import Reply, SimulatedProvider, prompt_of

SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string"}},
    "required": ["text"],
    "additionalProperties": False,
}
APIS = ("anthropic", "openai")
ALIASES = ("small", "middle", "frontier")


def call(**given: Any) -> ModelCall:
    fields: dict[str, Any] = {
        "model": "m",
        "system": "You are careful.",
        "prompt": "Say hello.",
        "tool_name": "answer",
        "tool_description": "The answer.",
        "tool_schema": SCHEMA,
        "max_output_tokens": 256,
    }
    return ModelCall(**(fields | given))


class Bench:
    """One scripted provider and the models that reach it through one SDK."""

    def __init__(self, api: str) -> None:
        self.api = api
        self.replies: list[Reply] = []
        self.provider = SimulatedProvider(self._next)

    def _next(self, request: dict[str, Any]) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    async def ask(self, *replies: Reply, alias: str = "small", **given: Any) -> Any:
        self.replies = list(replies)
        return await self.models.call(self.entry(alias), call(**given))

    def entry(self, alias: str) -> Entry:
        return self.models.choices(alias)[0]

    async def fails(self, *replies: Reply, **given: Any) -> ModelError:
        with pytest.raises(ModelError) as caught:
            await self.ask(*replies, **given)
        return caught.value


@pytest.fixture(params=APIS)
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    bench = Bench(request.param)
    async with bench.provider:
        bench.models = Models.from_env(bench.provider.env(bench.api))
        yield bench
        await bench.models.close()


@pytest.mark.parametrize("alias", ALIASES)
async def test_an_object_comes_back_with_tokens_and_cost(bench: Bench, alias: str) -> None:
    reply = await bench.ask(
        Reply(data={"text": "hello"}, input_tokens=1000, cached_tokens=400, output_tokens=50), alias=alias
    )
    assert reply.data == {"text": "hello"}
    usage = reply.usage
    assert (usage.provider, usage.model) == (bench.api, bench.entry(alias).id)
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens) == (1000, 400, 50)
    assert usage.cost_usd is not None
    assert 0 < usage.cost_usd < 0.01


@pytest.mark.parametrize(
    ("alias", "anthropic", "openai"),
    [
        ("small", {"type": "tool", "name": "answer", "disable_parallel_tool_use": True}, "function"),
        ("middle", {"type": "auto", "disable_parallel_tool_use": True}, "function"),
        ("frontier", {"type": "auto", "disable_parallel_tool_use": True}, "schema"),
    ],
)
async def test_each_model_is_asked_in_the_form_it_takes(
    bench: Bench, alias: str, anthropic: dict[str, Any], openai: str
) -> None:
    await bench.ask(Reply(data={"text": "x"}), alias=alias)
    sent = bench.provider.log[0].request
    if bench.api == "anthropic":
        assert sent["tool_choice"] == anthropic
        assert sent["tools"][0]["input_schema"] == SCHEMA
        system = sent["system"][0]
        assert ("Reply only by calling the tool answer" in system["text"]) == (alias != "small")
        assert system["cache_control"] == {"type": "ephemeral"}
    elif openai == "function":
        assert sent["tool_choice"] == {"type": "function", "function": {"name": "answer"}}
        assert sent["tools"][0]["function"]["parameters"] == SCHEMA
        assert sent["reasoning_effort"] == "none"
    else:
        assert sent["response_format"]["json_schema"]["schema"] == SCHEMA
        assert "tools" not in sent
    assert prompt_of(sent) == "Say hello."


async def test_images_travel_with_the_prompt(bench: Bench) -> None:
    await bench.ask(
        Reply(data={"text": "x"}), images=(Document(name="a.png", media_type="image/png", data=b"\x89PNG"),)
    )
    first, last = bench.provider.log[0].request["messages"][-1]["content"]
    where = first["source"]["data"] if bench.api == "anthropic" else first["image_url"]["url"].partition(",")[2]
    assert where == "iVBORw=="
    assert last["text"] == "Say hello."


@pytest.mark.parametrize(
    ("reply", "kind", "retryable"),
    [
        (Reply(status=429, code="rate_limit_error"), "rate_limited", True),
        (Reply(status=429, code="insufficient_quota"), "quota", False),
        (Reply(status=402, code="billing_error"), "quota", False),
        (Reply(status=400, message="Your credit balance is too low"), "quota", False),
        (Reply(status=401, code="authentication_error"), "auth", False),
        (Reply(status=403, code="permission_error"), "auth", False),
        (Reply(status=404, code="not_found_error"), "bad_request", False),
        (Reply(status=400, code="invalid_request_error", message="prompt is too long: 1 > 0"), "too_long", False),
        (Reply(status=413, code="request_too_large"), "too_long", False),
        (Reply(status=500), "unavailable", True),
        (Reply(status=503), "unavailable", True),
        (Reply(status=529, code="overloaded_error"), "overloaded", True),
        (Reply(drop=True), "unavailable", True),
        (Reply(raw="this is no JSON"), "unavailable", True),
        (Reply(raw="[1, 2]"), "unavailable", True),
        (Reply(raw="{}"), "malformed", False),
        (Reply(data={"text": "he"}, stop="max_tokens"), "truncated", False),
        (Reply(text="no", stop="refusal"), "refused", False),
        (Reply(text="Hello, how may I help?"), "malformed", False),
        (Reply(data={"text": "x"}, tool="another"), "malformed", False),
    ],
)
async def test_every_failure_has_its_kind(bench: Bench, reply: Reply, kind: str, retryable: bool) -> None:
    error = await bench.fails(reply)
    assert (error.kind, error.retryable) == (kind, retryable)
    assert bench.entry("small").id in error.message
    assert len(bench.provider.log) == 1, "the SDK must not retry by itself"


async def test_a_failed_reply_that_cost_tokens_is_accounted(bench: Bench) -> None:
    error = await bench.fails(Reply(data={"text": "he"}, stop="max_tokens", output_tokens=256))
    assert error.usage is not None
    assert error.usage.output_tokens == 256


async def test_keys_do_not_reach_error_texts(bench: Bench) -> None:
    key = f"sk-test-{bench.api}-key"
    error = await bench.fails(Reply(status=401, message=f"Incorrect API key provided: {key}, or sk-proj-abcdef123"))
    assert key not in str(error)
    assert "abcdef123" not in str(error)
    assert "***" in str(error)


@pytest.mark.parametrize(
    ("headers", "wait"), [({"retry-after": "7"}, 7_000), ({"retry-after-ms": "1500", "retry-after": "9"}, 1_500)]
)
async def test_retry_after_is_read(bench: Bench, headers: dict[str, str], wait: int) -> None:
    assert (await bench.fails(Reply(status=429, headers=headers))).retry_after_ms == wait


async def test_openai_arguments_that_are_no_json_are_malformed() -> None:
    bench = Bench("openai")
    async with bench.provider:
        bench.models = Models.from_env(bench.provider.env("openai"))
        error = await bench.fails(Reply(arguments='{"text": '))
        assert error.kind == "malformed"
        assert error.usage is not None
        assert (await bench.ask(Reply(text='```json\n{"text": "as text"}\n```'))).data == {"text": "as text"}
        await bench.models.close()


async def test_the_deadline_ends_a_call_and_its_connection(bench: Bench) -> None:
    await bench.ask(Reply(data={"text": "warm"}))
    error = await bench.fails(Reply(data={"text": "late"}, delay_s=30), deadline_ms=now_ms() + 300)
    assert error.kind == "timeout"
    await _ended(bench.provider, 1)
    assert bench.provider.log[1].outcome == "cancelled"
    assert (await bench.fails(Reply(data={}), deadline_ms=now_ms() - 1)).kind == "timeout"
    assert len(bench.provider.log) == 2, "nothing is sent after the deadline"


async def test_cancelling_a_call_closes_its_connection(bench: Bench) -> None:
    await bench.ask(Reply(data={"text": "warm"}))
    running = asyncio.create_task(bench.ask(Reply(data={"text": "never"}, delay_s=30)))
    while len(bench.provider.log) < 2:
        await asyncio.sleep(0.01)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    logged = await _ended(bench.provider, 1)
    assert logged.outcome == "cancelled"
    assert logged.ended_at - logged.started_at < 20
    assert (await bench.ask(Reply(data={"text": "next"}))).data == {"text": "next"}


async def _ended(provider: SimulatedProvider, number: int) -> Any:
    async with asyncio.timeout(60):
        while provider.log[number].ended_at is None:
            await asyncio.sleep(0.01)
    return provider.log[number]


async def test_nothing_but_loopback_is_called_when_real_models_are_off() -> None:
    models = Models.from_env({"ANTHROPIC_API_KEY": "sk-x", "OPENAI_API_KEY": "sk-y", "HOCKET_ALLOW_REAL_MODELS": "0"})
    for entry in (*models.choices("small"), *models.choices("frontier")):
        with pytest.raises(ModelError, match="HOCKET_ALLOW_REAL_MODELS=0 forbids") as caught:
            await models.call(entry, call())
        assert not caught.value.retryable


async def test_many_calls_run_at_once(bench: Bench) -> None:
    await bench.ask(Reply(data={"text": "warm"}))
    started = time.monotonic()
    slow = Reply(data={"text": "x"}, delay_s=0.5)
    replies = await asyncio.gather(*(bench.ask(slow) for _ in range(50)))
    assert [r.data for r in replies] == [{"text": "x"}] * 50
    assert time.monotonic() - started < 20


# llmock: an independent server that groups the attempts of one call and says what the client did wrong.


def no_faults(data: dict[str, Any]) -> list[str]:
    return [] if set(data) == {"text"} else ["text: is missing"]


def asker(llmock: Any, api: str, **given: Any) -> Asker:
    env = {f"{api.upper()}_BASE_URL": llmock.base_url(api), f"{api.upper()}_API_KEY": "k" * 8}
    return Asker(models=Models.from_env(env), now_ms=now_ms, deadline_ms=now_ms() + 20_000, **given)


@pytest.mark.parametrize("api", APIS)
async def test_llmock_finds_no_fault_with_our_retries(llmock: Any, api: str) -> None:
    mine = asker(llmock, api)
    llmock.rate_limit(times=1, retry_after=0.8).fail(529 if api == "anthropic" else 500, times=1)
    llmock.call_tool("answer", {"text": "after two failures"})
    found = await mine.climb(["small"], call(), no_faults)
    await mine.models.close()
    assert isinstance(found, Found)
    assert found.data == {"text": "after two failures"}
    assert [a.outcome for a in mine.ledger.attempts] == [
        "rate_limited",
        "overloaded" if api == "anthropic" else "unavailable",
        "completed",
    ]
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("status", [400, 401, 404])
async def test_llmock_sees_one_attempt_where_retrying_is_pointless(llmock: Any, api: str, status: int) -> None:
    mine = asker(llmock, api)
    llmock.fail(status, times=None)
    found = await mine.climb(["small"], call(), no_faults)
    await mine.models.close()
    assert isinstance(found, ModelError)
    assert len(llmock.requests) == 1
    llmock.assert_resilient(strict=True)


@pytest.mark.parametrize("api", APIS)
async def test_llmock_makes_up_a_tool_call_from_our_schema_and_it_fits(llmock: Any, api: str) -> None:
    mine = asker(llmock, api)
    found = await mine.climb(["small"], call(), no_faults)
    await mine.models.close()
    assert isinstance(found, Found)
    assert [u.provider for u in mine.ledger.usage] == [api]


@pytest.mark.parametrize("api", APIS)
async def test_an_outage_is_tried_three_times_and_no_more(llmock: Any, api: str) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)
        await asyncio.sleep(seconds)

    mine = asker(llmock, api, sleep=sleep)
    llmock.outage()
    found = await mine.climb(["small"], call(), no_faults)
    await mine.models.close()
    assert isinstance(found, ModelError)
    assert found.retryable
    assert len(llmock.requests) == 3
    assert waits == [1.0, 2.0], "its Retry-After of one second is longer than our half"


@pytest.mark.parametrize("api", APIS)
async def test_every_shipped_specialty_can_be_asked_of_a_model(llmock: Any, api: str) -> None:
    """llmock makes its replies up from the JSON schema that it is sent, so they fit only if the schema is right."""
    engines = Engines(asker(llmock, api).models, now_ms)
    for specialty in load_specialties().values():
        work = Work(task_id="t", specialty=specialty.name, instruction="Do it.", text="A text.")
        outcome = await engines.run(specialty, work, strategy="best", deadline_ms=now_ms() + 20_000)
        if specialty.name == "research":  # its own check finds that no document holds what llmock has made up
            assert "there is no document" in (outcome.error.message if outcome.error else "")
            continue
        assert outcome.error is None, specialty.name
        assert (outcome.engine or "").startswith(f"{api}/"), specialty.name
        assert len(outcome.usage) == 1, f"{specialty.name}: fits at once"
    await engines.close()
