"""Anthropic's Messages API, through its own SDK with its retries off."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Any

from hocket.llm import errors
from hocket.llm.base import ModelCall, ModelError, ModelReply
from hocket.llm.prices import Tokens
from hocket.llm.wire import Bill, Client, Endpoint, bounded, count, object_in, plain

BASE_URL = "https://api.anthropic.com"


class Anthropic:
    """Provider over the Messages API; see hocket.llm.base.Provider for what calls may raise."""

    name = "anthropic"

    def __init__(self, endpoint: Endpoint, *, bill: Bill, now_ms: Callable[[], int]) -> None:
        self._client = Client("anthropic", "AsyncAnthropic", endpoint)
        self._bill = bill
        self._now_ms = now_ms

    async def call(self, call: ModelCall) -> ModelReply:
        """One call; see Provider."""
        engine = f"{self.name}/{call.model}"
        started = self._now_ms()
        sdk, client = await self._client.get()
        try:
            async with bounded(engine, call, started) as seconds:
                sending = client.messages.with_raw_response.create(**request_of(call), timeout=seconds)
                body, _ = await plain(sending)
        except sdk.APIStatusError as e:
            raise self._failed(engine, e) from e
        except sdk.APITimeoutError as e:
            raise ModelError("timeout", f"{engine}: no reply in time.") from e
        except sdk.APIConnectionError as e:
            raise ModelError("unavailable", f"{engine}: {self._said(e)}") from e
        except (sdk.APIError, ValueError) as e:
            raise ModelError("malformed", f"{engine}: unreadable answer: {self._said(e)}") from e
        usage = self._bill(call.model, tokens_of(body), started, self._now_ms())
        try:
            data = data_of(engine, call, body)
        except ModelError as e:
            e.usage = usage
            raise
        return ModelReply(data=data, usage=usage, stop_reason=str(body.get("stop_reason")))

    async def close(self) -> None:
        """Closes idle connections; see Provider."""
        await self._client.close()

    def _failed(self, engine: str, e: Any) -> ModelError:
        secrets = (self._client.endpoint.key,)
        return errors.from_status(
            engine, e.status_code, e.body, e.response.headers, now_ms=self._now_ms(), secrets=secrets
        )

    def _said(self, e: Exception) -> str:
        cause = e.__cause__ or e
        return errors.redacted(f"{type(cause).__name__}: {cause}", (self._client.endpoint.key,))


def request_of(call: ModelCall) -> dict[str, Any]:
    """The request's parameters. Pure."""
    content: list[dict[str, Any]] = [
        {
            "type": "image",
            "source": {
                "type": "base64",
                "media_type": image.media_type,
                "data": base64.b64encode(image.data).decode("ascii"),
            },
        }
        for image in call.images
    ]
    content.append({"type": "text", "text": call.prompt})
    tool = {"name": call.tool_name, "description": call.tool_description, "input_schema": dict(call.tool_schema)}
    forced = {"type": "tool", "name": call.tool_name, "disable_parallel_tool_use": True}
    offered = {"type": "auto", "disable_parallel_tool_use": True}
    order = f"\n\nReply only by calling the tool {call.tool_name}, once, and write nothing else."
    request: dict[str, Any] = {
        "model": call.model,
        "max_tokens": call.max_output_tokens,
        "system": call.system + ("" if call.form == "tool" else order),
        "messages": [{"role": "user", "content": content}],
        "tools": [tool],
        "tool_choice": forced if call.form == "tool" else offered,
    }
    if call.thinking is not None:
        request["thinking"] = {"type": call.thinking}
    if call.effort is not None:
        request["output_config"] = {"effort": call.effort}
    return request


def tokens_of(body: Mapping[str, Any]) -> Tokens:
    """The call's tokens: Anthropic counts cached input apart, Hocket counts it in. Pure."""
    usage = body.get("usage")
    cached = count(usage, "cache_read_input_tokens")
    writes = count(usage, "cache_creation_input_tokens")
    return Tokens(
        input=count(usage, "input_tokens") + cached + writes,
        cached=cached,
        cache_writes=writes,
        output=count(usage, "output_tokens"),
    )


def data_of(engine: str, call: ModelCall, body: Mapping[str, Any]) -> dict[str, Any]:
    """The object the model replied with. Pure. Raises ModelError when it did not, or stopped for a bad reason."""
    stopped = errors.from_stop(engine, str(body.get("stop_reason")))
    if stopped is not None:
        raise stopped
    content = body.get("content")
    blocks = [b for b in content if isinstance(b, Mapping)] if isinstance(content, list) else []
    for block in blocks:
        if block.get("type") == "tool_use" and block.get("name") == call.tool_name:
            found = block.get("input")
            if isinstance(found, dict):
                return found
    said = "".join(str(b.get("text", "")) for b in blocks if b.get("type") == "text")
    try:
        return object_in(engine, said)
    except ModelError as e:
        raise ModelError("malformed", f"{engine}: the model did not call {call.tool_name}.") from e
