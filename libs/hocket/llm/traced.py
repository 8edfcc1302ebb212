"""The span of one model call, named and described as OpenTelemetry's GenAI conventions want it."""

from __future__ import annotations

import json
from collections.abc import Awaitable

from hocket.core.traces import Attributes
from hocket.llm.base import ModelCall, ModelError, ModelReply
from hocket.runtime import tracing


async def traced(provider: str, call: ModelCall, reply: Awaitable[ModelReply]) -> ModelReply:
    """The reply, within a span of its own when the task's trace is recorded."""
    if not tracing.current():
        return await reply
    with tracing.within(tracing.step(f"chat {call.model}", "client", _asked(provider, call))) as span:
        try:
            found = await reply
        except ModelError as e:
            span.crashed(e)
            span.failed(e.kind, e.message)
            if e.usage is not None:
                _cost(span, e.usage.input_tokens, e.usage.output_tokens, e.usage.cost_usd)
            span.end()
            raise
        _told(span, found)
        return found


def _asked(provider: str, call: ModelCall) -> Attributes:
    found: Attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": call.model,
        "gen_ai.request.max_tokens": call.max_output_tokens,
        "gen_ai.conversation.id": tracing.current().request_id,
        "gen_ai.output.type": "json",
    }
    if tracing.with_content():
        found["gen_ai.system_instructions"] = json.dumps([{"type": "text", "content": call.system}])
        asked = {"role": "user", "parts": [{"type": "text", "content": call.prompt}]}
        found["gen_ai.input.messages"] = json.dumps([asked])
    return found


def _told(span: tracing.Open, reply: ModelReply) -> None:
    usage = reply.usage
    _cost(span, usage.input_tokens, usage.output_tokens, usage.cost_usd)
    span.set(
        {
            "gen_ai.response.model": usage.model,
            "gen_ai.response.finish_reasons": (reply.stop_reason,),
            "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
            "gen_ai.usage.cache_write.input_tokens": usage.cache_write_tokens,
        }
    )
    if tracing.with_content():
        said = {"role": "assistant", "parts": [{"type": "text", "content": json.dumps(reply.data)}]}
        span.set({"gen_ai.output.messages": json.dumps([said | {"finish_reason": reply.stop_reason}])})


def _cost(span: tracing.Open, input_tokens: int, output_tokens: int, usd: float | None) -> None:
    span.set(
        {"gen_ai.usage.input_tokens": input_tokens, "gen_ai.usage.output_tokens": output_tokens, "hocket.cost_usd": usd}
    )
