"""Streamed replies through both real SDKs: the text while it comes, and every way in which a stream can break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hocket.llm.asking import Asker, Found
from hocket.llm.base import ModelError
from hocket.llm.models import Models
from hocket.runtime.clock import now_ms
from tests.e2e.test_providers import APIS, call, no_faults
from tests.support.simulated import Reply, SimulatedProvider

SAID = 'A long "text", in pieces; naïve and 😀.'


class Streaming:
    """One scripted provider, asked for streams."""

    def __init__(self, api: str) -> None:
        self.api, self.reply, self.told = api, Reply(), list[str]()
        self.provider = SimulatedProvider(lambda _: self.reply)

    async def ask(self, reply: Reply, alias: str = "small", **given: Any) -> Any:
        self.reply = reply
        return await self.models.call(self.models.choices(alias)[0], call(**given), self.told.append)

    async def fails(self, reply: Reply, **given: Any) -> ModelError:
        with pytest.raises(ModelError) as caught:
            await self.ask(reply, **given)
        return caught.value


@pytest.fixture(params=APIS)
async def streaming(request: pytest.FixtureRequest) -> AsyncIterator[Streaming]:
    found = Streaming(request.param)
    async with found.provider:
        found.models = Models.from_env(found.provider.env(found.api) | {"HOCKET_STALL_MS": "300"})
        yield found
        await found.models.close()


@pytest.mark.parametrize("alias", ["small", "middle", "frontier"])
async def test_the_text_comes_piece_by_piece_and_the_reply_is_whole(streaming: Streaming, alias: str) -> None:
    reply = Reply(data={"text": SAID}, input_tokens=1000, cached_tokens=400, output_tokens=50)
    found = await streaming.ask(reply, alias)
    assert found.data == {"text": SAID}
    assert streaming.told[0] == "", "an empty piece says that a reply begins"
    assert "".join(streaming.told) == SAID
    assert len(streaming.told) > 4
    usage = found.usage
    assert (usage.input_tokens, usage.cached_tokens, usage.output_tokens) == (1000, 400, 50)
    assert usage.cost_usd is not None
    assert found.stop_reason in ("tool_use", "tool_calls", "stop")
    sent = streaming.provider.log[0].request
    assert sent["stream"] is True
    assert sent.get("stream_options") == (None if streaming.api == "anthropic" else {"include_usage": True})


@pytest.mark.parametrize(
    ("fault", "kind", "retryable"),
    [
        ("truncate", "unavailable", True),
        ("drop", "unavailable", True),
        ("malform", "unavailable", True),
        ("stall", "timeout", True),
        ("error", "overloaded", True),
    ],
)
async def test_a_broken_stream_is_a_failure_of_its_kind(
    streaming: Streaming, fault: str, kind: str, retryable: bool
) -> None:
    error = await streaming.fails(Reply(data={"text": SAID}, fault=fault))
    assert (error.kind, error.retryable, error.spent) == (kind, retryable, True)
    assert streaming.models.choices("small")[0].id in error.message
    assert len(streaming.provider.log) == 1
    assert (await streaming.ask(Reply(data={"text": "next"}))).data == {"text": "next"}


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(status=429, code="rate_limit_error", headers={"retry-after": "3"}), "rate_limited"),
        (Reply(status=500), "unavailable"),
        (Reply(data={"text": "he"}, stop="max_tokens"), "truncated"),
        (Reply(text="no", stop="refusal"), "refused"),
        (Reply(text="Hello!"), "malformed"),
        (Reply(raw="no events at all"), "unavailable"),
    ],
)
async def test_failures_have_the_kind_that_they_have_without_streaming(
    streaming: Streaming, reply: Reply, kind: str
) -> None:
    error = await streaming.fails(reply)
    assert error.kind == kind
    assert error.retry_after_ms == (3_000 if kind == "rate_limited" else None)


async def test_a_key_in_a_streams_error_is_taken_out(streaming: Streaming) -> None:
    key = f"sk-test-{streaming.api}-key"
    error = await streaming.fails(Reply(data={"text": SAID}, fault="error", message=f"bad key {key}"))
    assert key not in str(error)
    assert "***" in str(error)


async def test_cancelling_closes_the_stream(streaming: Streaming) -> None:
    await streaming.ask(Reply(data={"text": "warm"}))
    streaming.models.providers[streaming.api]._stall_s = 30
    running = asyncio.create_task(streaming.ask(Reply(data={"text": SAID}, fault="stall")))
    while len(streaming.provider.log) < 2:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.1)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    async with asyncio.timeout(60):
        while streaming.provider.log[1].ended_at is None:
            await asyncio.sleep(0.01)
    assert streaming.provider.log[1].outcome == "cancelled"


# llmock breaks streams in ways of its own, and judges what the client does then.


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("fault", ["disconnect", "truncate", "slow_first_token"])
async def test_llmock_finds_no_fault_with_how_broken_streams_are_retried(llmock: Any, api: str, fault: str) -> None:
    told: list[str] = []
    env = {f"{api.upper()}_BASE_URL": llmock.base_url(api), f"{api.upper()}_API_KEY": "k" * 8}
    mine = Asker(models=Models.from_env(env), now_ms=now_ms, deadline_ms=now_ms() + 20_000, on_text=told.append)
    getattr(llmock, fault)(**({"seconds": 0.5} if fault == "slow_first_token" else {}))
    llmock.call_tool("answer", {"text": "whole at last"}, times=None)
    found = await mine.climb(["small"], call(), no_faults)
    await mine.models.close()
    assert isinstance(found, Found)
    assert found.data == {"text": "whole at last"}
    last = len(told) - 1 - told[::-1].index("")
    assert "".join(told[last:]) == "whole at last"
    assert [a.outcome for a in mine.ledger.attempts][-1] == "completed"
    assert len(llmock.requests) == (1 if fault == "slow_first_token" else 2)
    llmock.assert_resilient(strict=True)
